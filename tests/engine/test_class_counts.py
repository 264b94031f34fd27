"""The number of classes follows from the data for every kind of model, and nobody has to set it."""

import pytest
import torch

from d2lite.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts
from d2lite.engine import setup_cfg
from d2lite.engine.defaults.run_parts import set_federated_weights
from d2lite.engine.derived_config.classes import ClassKey, find_data_classes
from d2lite.modeling import build_model
from d2lite.modeling.box_regression import Box2BoxTransform
from d2lite.modeling.roi_heads import FastRCNNOutputLayers
from d2lite.utils.errors import ConfigError
from tests.data import spec_files as make

SMALL = ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", "MODEL.RESNETS.DEPTH", "18",
         "MODEL.RESNETS.RES2_OUT_CHANNELS", "64"]  # fmt: skip


@pytest.fixture
def two_classes(tmp_path):
    make.coco(tmp_path / "a.json", ids=(7, 0), objects=[(0, 7)])
    make.picture(tmp_path / "a.jpg")
    name = f"coco:{tmp_path / 'a.json'}"
    yield name
    DatasetCatalog.pop(name, None)
    MetadataCatalog.pop(name, None)


def followed(config, name, *options):
    cfg = setup_cfg(config, [*SMALL, "DATASETS.TRAIN", f"('{name}',)", *options])
    ClassKey.of(cfg).follow(*find_data_classes(cfg.DATASETS.TRAIN, cfg.DATASETS.TEST))
    return cfg


@pytest.mark.parametrize(
    ("config", "node", "layer", "per_class"),
    [
        ("Base-RCNN-FPN.yaml", "ROI_HEADS", "box_predictor.bbox_pred.weight", 4),
        ("Base-RetinaNet.yaml", "RETINANET", "head.cls_score.weight", 9),
        ("fcos_R_50_FPN_1x.yaml", "FCOS", "head.cls_score.weight", 1),
        ("Base-SOLOv2.yaml", "SOLOV2", "cate_pred.weight", 1),
    ],
)
def test_detectors_follow_the_classes_of_a_dataset_string(
    two_classes, config, node, layer, per_class
):
    cfg = followed(config, two_classes)
    assert cfg.MODEL[node].NUM_CLASSES == 2
    assert "derived" in cfg.origin(f"MODEL.{node}.NUM_CLASSES")
    weights = build_model(cfg).state_dict()
    (last,) = [value for name, value in weights.items() if name.endswith(layer)]
    assert len(last) == 2 * per_class


def test_the_classes_of_pixels_follow_the_stuff_of_a_set(caplog):
    options = ["MODEL.META_ARCHITECTURE", "SemanticSegmentor"]
    cfg = followed("Base-RCNN-FPN.yaml", "shapes_train_panoptic", *options)
    count = len(MetadataCatalog.get("shapes_train_panoptic").stuff_classes)
    assert count == cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    weights = build_model(cfg).state_dict()
    assert torch.Size([count]) == weights["sem_seg_head.predictor.bias"].shape
    key = "MODEL.SEM_SEG_HEAD.NUM_CLASSES"
    with pytest.raises(ConfigError, match=r"SEM_SEG_HEAD\.NUM_CLASSES=1 does not fit"):
        followed("Base-RCNN-FPN.yaml", "shapes_train_panoptic", *options, key, "1")
    cfg = followed("Base-RCNN-FPN.yaml", "shapes_train_panoptic", *options, key, "7")
    assert cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 7
    assert "SEM_SEG_HEAD.NUM_CLASSES=7 does not fit" in caplog.text


@pytest.mark.parametrize("counts_are_known", [True, False])
def test_federated_loss_gets_the_images_of_each_class(toy_cfg, counts_are_known):
    """With a YAML config its first step failed, and FED_LOSS_FREQ_WEIGHT_POWER had no effect."""
    toy_cfg.MODEL.ROI_BOX_HEAD.FED_LOSS_FREQ_WEIGHT_POWER = 2.0
    if counts_are_known:
        counts = [{"id": 2, "image_count": 5}, {"id": 1, "image_count": 4}]
        MetadataCatalog.get("toy_train").set(class_image_count=counts)
    get_detection_dataset_dicts(toy_cfg.DATASETS.TRAIN)
    layers = FastRCNNOutputLayers(
        8,
        box2box_transform=Box2BoxTransform((1.0, 1.0, 1.0, 1.0)),
        num_classes=2 if counts_are_known else 3,
        use_fed_loss=True,
        use_sigmoid_ce=True,
    )
    set_federated_weights(toy_cfg, torch.nn.Sequential(layers))
    # Of the eight images, three have each of the first two classes.
    expected = [16, 25] if counts_are_known else [9, 9, 4]
    assert layers.fed_loss_cls_weights.tolist() == expected
