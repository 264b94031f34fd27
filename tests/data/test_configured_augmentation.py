"""Augmentations that keys switch on, and what they do to images and objects."""

import numpy as np
import pytest
import torch
from PIL import Image

from d2lite.config import get_cfg
from d2lite.data import DatasetMapper
from d2lite.data import transforms as T
from d2lite.data.dataset_mapper import build_augmentation
from d2lite.structures import BoxMode
from d2lite.utils.draws import keyed_draws
from d2lite.utils.errors import ConfigError


def config(*options):
    cfg = get_cfg()
    cfg.merge_from_list(list(options))
    return cfg


@pytest.fixture
def record(tmp_path):
    """A white rectangle on black, with its box and polygon."""
    pixels = np.zeros((60, 80, 3), dtype=np.uint8)
    pixels[15:40, 20:50] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    polygon = [20, 15, 50, 15, 50, 40, 20, 40]
    obj = {
        "category_id": 0,
        "bbox": [20, 15, 50, 40],
        "bbox_mode": BoxMode.XYXY_ABS,
        "segmentation": [polygon],
    }
    return {"file_name": str(tmp_path / "a.png"), "height": 60, "width": 80, "annotations": [obj]}


def kinds(cfg, is_train=True):
    return [type(a).__name__ for a in build_augmentation(cfg, is_train)]


JITTER = (
    "INPUT.AUG.LARGE_SCALE_JITTER.ENABLED", True,
    "INPUT.AUG.LARGE_SCALE_JITTER.SIZE", (96, 64),
    "INPUT.AUG.LARGE_SCALE_JITTER.SCALE", (0.5, 3.0),
)  # fmt: skip
COLOUR = ("INPUT.AUG.PHOTOMETRIC.ENABLED", True)
CROP = ("INPUT.AUG.MIN_IOU_CROP.ENABLED", True)


def test_all_keys_are_off_by_default_and_in_tests():
    assert kinds(config()) == ["ResizeShortestEdge", "RandomFlip"]
    everything = config(*JITTER, *COLOUR, *CROP)
    assert kinds(everything) == [
        "MinIoURandomCrop", "ResizeScale", "PhotometricDistortion", "FixedSizeCrop", "RandomFlip",
    ]  # fmt: skip
    assert kinds(everything, is_train=False) == ["ResizeShortestEdge"]


@pytest.mark.parametrize("with_masks", [False, True])
@pytest.mark.parametrize("options", [JITTER, CROP, JITTER + CROP])
def test_boxes_and_masks_stay_on_the_pixels(record, options, with_masks):
    """Whatever was drawn: the white pixels are where the box says."""
    size = ("INPUT.MIN_SIZE_TRAIN", (60,), "MODEL.MASK_ON", with_masks)
    mapper = DatasetMapper(config(*options, *size), True)
    assert mapper.recompute_boxes == with_masks
    shapes = set()
    for key in range(30):
        with keyed_draws(key):
            sample = mapper(record)
        shapes.add(tuple(sample["image"].shape[1:]))
        rows, columns = np.nonzero((sample["image"][0] > 127).numpy())
        instances = sample["instances"]
        if len(instances) and len(rows):
            seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            box = instances.gt_boxes.tensor[0].numpy()
            np.testing.assert_allclose(box, seen, atol=3)
    if "INPUT.AUG.LARGE_SCALE_JITTER.ENABLED" in options:
        assert max(h for h, _ in shapes) <= 96
        assert max(w for _, w in shapes) == 64
        assert len(shapes) > 5


def test_samples_are_the_same_for_the_same_draws(record):
    mapper = DatasetMapper(config(*JITTER, *COLOUR, *CROP), True)
    samples = []
    for _ in range(2):
        with keyed_draws(5):
            samples.append(mapper(record)["image"])
    assert torch.equal(*samples)


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)


def test_distortion_keeps_shape_and_type_and_moves_nothing(photo):
    augmentation = T.PhotometricDistortion()
    results = [augmentation.get_transform(photo) for _ in range(20)]
    images = [t.apply_image(photo) for t in results]
    assert all(i.dtype == np.uint8 and i.shape == photo.shape for i in images)
    assert len({i.tobytes() for i in images}) > 5
    box = np.array([[1.0, 2, 5, 6]])
    assert np.array_equal(results[0].apply_box(box), box)


def test_ranges_of_nothing_change_nothing(photo):
    still = T.PhotometricDistortion(0, (1, 1), (1, 1), 0)
    for _ in range(10):
        assert np.array_equal(still.get_transform(photo).apply_image(photo), photo)


def test_each_range_does_what_it_says(photo):
    def all_of(**ranges):
        none = {"brightness": 0, "contrast": (1, 1), "saturation": (1, 1), "hue": 0}
        made = T.PhotometricDistortion(**{**none, **ranges})
        images = (made.get_transform(photo).apply_image(photo) for _ in range(40))
        return [i.astype(int) for i in images if not np.array_equal(i, photo)]

    plain = photo.astype(int)
    darker = all_of(contrast=(0.5, 0.5))
    assert all(np.abs(i - plain / 2).max() <= 0.5 for i in darker)
    assert 8 < len(darker) < 32
    grey = all_of(saturation=(0, 0))[0]
    assert np.abs(grey - plain.max(axis=2, keepdims=True)).max() <= 1
    for image in all_of(brightness=20):
        inner = (plain > 20) & (plain < 235)
        assert np.ptp((image - plain)[inner]) <= 1
        assert np.abs(image - plain).max() <= 20
    for image in all_of(hue=120):
        # A turn keeps the brightest and the darkest channel of each pixel.
        assert np.abs(image.max(axis=2) - plain.max(axis=2)).max() <= 1
        assert np.abs(image.min(axis=2) - plain.min(axis=2)).max() <= 1


def test_distortions_that_make_no_sense_are_refused(photo):
    with pytest.raises(ValueError, match="least and greatest"):
        T.PhotometricDistortion(contrast=(1.5, 0.5))
    with pytest.raises(ValueError, match="0 or more"):
        T.PhotometricDistortion(hue=-1)
    with pytest.raises(ValueError, match="colour image"):
        T.PhotometricDistortion().get_transform(photo[:, :, 0])
    with pytest.raises(ConfigError, match=r"INPUT\.FORMAT RGB or BGR, found 'L'"):
        build_augmentation(config(*COLOUR, "INPUT.FORMAT", "L"), True)
    with pytest.raises(ConfigError, match=r"INPUT\.AUG\.PHOTOMETRIC: brightness -1"):
        build_augmentation(config(*COLOUR, "INPUT.AUG.PHOTOMETRIC.BRIGHTNESS", -1.0), True)
