from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from d2lite.data import MetadataCatalog
from d2lite.data.images.image_io import read_image
from d2lite.engine import DefaultPredictor, DefaultTrainer
from d2lite.utils.errors import ConfigError, DataError, MissingFileError


def image(height: int = 40, width: int = 60) -> np.ndarray:
    """Blue in BGR: a mix-up of the channels shows."""
    return np.tile(np.array([200, 40, 10], np.uint8), (height, width, 1))


def sees(predictor: DefaultPredictor) -> list[dict]:
    """Collects what the predictor hands to its model."""
    seen = []
    predictor.model.register_forward_pre_hook(lambda _, args: seen.extend(args[0]))
    return seen


def records_alone(predictor: DefaultPredictor) -> list[dict]:
    """Collects what the predictor hands to its model, which does not run."""
    seen = []
    predictor.model = lambda batch: seen.extend(batch) or [{}]
    return seen


@pytest.mark.parametrize(("channels", "first"), [("BGR", 200), ("RGB", 10)])
def test_image_is_resized_as_in_evaluation_and_in_the_channels_of_the_model(
    toy_cfg, channels, first
):
    toy_cfg.INPUT.FORMAT = channels
    predictor = DefaultPredictor(toy_cfg)
    seen = sees(predictor)
    result = predictor(image())
    assert seen[0]["image"].shape == (3, 32, 48)
    assert seen[0]["image"][0].unique().tolist() == [first]
    assert (seen[0]["height"], seen[0]["width"]) == (40, 60)
    assert result["instances"].image_size == (40, 60)
    assert not predictor.model.training


def test_empty_weights_are_warned_about(toy_cfg, caplog):
    DefaultPredictor(toy_cfg)
    assert "MODEL.WEIGHTS is empty" in caplog.text


def test_subclass_may_replace_the_constructor_and_keep_the_call(toy_cfg):
    """Code written for detectron2 does so, to bring a model of its own."""

    class Own(DefaultPredictor):
        def __init__(self, base):
            self.cfg, self.model, self.aug = base.cfg, base.model, base.aug
            self.input_format = "RGB"

    predictor = Own(DefaultPredictor(toy_cfg))
    seen = sees(predictor)
    assert predictor(image())["instances"].image_size == (40, 60)
    assert seen[0]["image"][0].unique().tolist() == [10]


def test_missing_weights_file_is_named(toy_cfg):
    toy_cfg.MODEL.WEIGHTS = "nowhere/model.pth"
    with pytest.raises(MissingFileError, match=r"nowhere/model\.pth"):
        DefaultPredictor(toy_cfg)


def test_config_is_left_alone(toy_cfg):
    before = toy_cfg.dump()
    DefaultPredictor(toy_cfg)
    assert toy_cfg.dump() == before


def test_config_is_left_alone_also_where_the_number_of_classes_follows_from_the_data(toy_cfg):
    toy_cfg.MODEL.META_ARCHITECTURE = "RetinaNet"
    toy_cfg.MODEL.BACKBONE.NAME = "build_retinanet_resnet_fpn_backbone"
    toy_cfg.MODEL.RESNETS.DEPTH, toy_cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 18, 64
    toy_cfg.MODEL.RESNETS.OUT_FEATURES = ["res3", "res4", "res5"]
    toy_cfg.MODEL.FPN.IN_FEATURES = ["res3", "res4", "res5"]
    before = toy_cfg.dump()
    predictor = DefaultPredictor(toy_cfg)
    assert predictor.cfg.MODEL.RETINANET.NUM_CLASSES == 3
    assert toy_cfg.dump() == before


def test_trained_weights_bring_their_class_names_where_the_data_are_not_there(toy_cfg):
    """People predict on machines that do not have the training data."""
    DefaultTrainer(toy_cfg).train()
    toy_cfg.MODEL.WEIGHTS = str(Path(toy_cfg.OUTPUT_DIR) / "model_final.pth")
    toy_cfg.DATASETS.TRAIN = toy_cfg.DATASETS.TEST = ("lost_set",)
    try:
        predictor = DefaultPredictor(toy_cfg)
    finally:
        if "lost_set" in MetadataCatalog:
            MetadataCatalog.remove("lost_set")
    assert predictor.metadata.thing_classes == ["nut", "bolt", "washer"]
    assert predictor.model.class_names == ["nut", "bolt", "washer"]


@pytest.mark.parametrize("wrong", [None, np.zeros((5, 5), np.uint8), torch.zeros(3, 4, 4)])
def test_what_is_no_image_is_refused(toy_cfg, wrong):
    with pytest.raises(DataError, match="needs a BGR image"):
        DefaultPredictor(toy_cfg)(wrong)


@pytest.mark.parametrize("wrong", ["YUV-601", "RGBX1", "bgr"])
def test_format_that_no_image_can_have_is_refused(toy_cfg, wrong):
    toy_cfg.INPUT.FORMAT = wrong
    with pytest.raises(ConfigError, match=r"INPUT\.FORMAT"):
        DefaultPredictor(toy_cfg)


@pytest.mark.parametrize(
    ("format", "count"), [("L", 1), ("RGBA", 4), ("YUV-BT.601", 3), ("CMYK", 4), ("NNNNN", 5)]
)
def test_images_are_predicted_as_they_are_read_for_training(toy_cfg, tmp_path, format, count):
    toy_cfg.INPUT.FORMAT = format
    toy_cfg.MODEL.PIXEL_MEAN, toy_cfg.MODEL.PIXEL_STD = [100.0] * count, [50.0] * count
    path = tmp_path / "photo.npy"
    np.save(path, np.tile(np.arange(count, dtype=np.uint8) * 40, (40, 60, 1)))
    if format != "NNNNN":
        path = tmp_path / "photo.png"
        cv2.imwrite(str(path), image())
    predictor = DefaultPredictor(toy_cfg)
    seen = records_alone(predictor)
    pixels = read_image(str(path), format)
    predictor(pixels)
    first = torch.as_tensor(pixels[0, 0].astype(np.float32))
    torch.testing.assert_close(seen[0]["image"][:, 5, 5].float(), first)


def test_grey_model_takes_planes_and_colour_images(toy_cfg):
    toy_cfg.INPUT.FORMAT = "L"
    toy_cfg.MODEL.PIXEL_MEAN, toy_cfg.MODEL.PIXEL_STD = [100.0], [50.0]
    predictor = DefaultPredictor(toy_cfg)
    seen = records_alone(predictor)
    grey = cv2.cvtColor(image(), cv2.COLOR_BGR2GRAY)
    for given in (grey, grey[:, :, None], image()):
        predictor(given)
    assert [float(item["image"].unique()) for item in seen] == [grey[0, 0]] * 3


def test_image_of_opencv_can_be_given_as_it_is(toy_cfg, tmp_path):
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), image())
    assert len(DefaultPredictor(toy_cfg)(cv2.imread(str(path)))["instances"]) == 1
