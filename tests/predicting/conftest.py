"""A tiny Mask R-CNN with random weights, saved as training saves it, and pictures to predict."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.config import CfgNode, find_config_file, get_cfg
from d2lite.data.images.image_io import read_image
from d2lite.modeling import build_model
from d2lite.projects import add_project_configs

CLASSES = ["circle", "square", "triangle", "star", "heart"]
OPTIONS = [
    *("INPUT.MIN_SIZE_TEST", 64),
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", 8),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", 8),
    *("MODEL.FPN.OUT_CHANNELS", 16),
    *("MODEL.ROI_BOX_HEAD.FC_DIM", 16),
    *("MODEL.ROI_MASK_HEAD.CONV_DIM", 8),
    *("MODEL.ROI_MASK_HEAD.NUM_CONV", 1),
    *("MODEL.RESNETS.NORM", "BN"),
    *("MODEL.FPN.NORM", "BN"),
    *("MODEL.ROI_BOX_HEAD.NUM_CONV", 0),
    *("MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 7),
    *("MODEL.ROI_MASK_HEAD.NORM", "BN"),
    *("MODEL.ROI_HEADS.NUM_CLASSES", 5),
    *("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0),
    *("TEST.DETECTIONS_PER_IMAGE", 7),
]


def tiny_cfg() -> CfgNode:
    """The config of the tiny model."""
    cfg = get_cfg()
    add_project_configs(cfg)
    cfg.merge_from_file(find_config_file("quick_start.yaml"))
    cfg.merge_from_list([*OPTIONS, "MODEL.WEIGHTS", ""])
    return cfg


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """One file, alone in its folder: weights, config and class names."""
    folder = tmp_path_factory.mktemp("one_file")
    cfg = tiny_cfg()
    cfg.MODEL.DEVICE = "cpu"
    torch.manual_seed(3)
    model = build_model(cfg)
    # Scores that differ, and masks with shapes.
    with torch.no_grad():
        model.roi_heads.box_predictor.cls_score.weight.mul_(60)
        model.roi_heads.mask_head.predictor.weight.normal_(0, 100)
    # The device is that of another machine.
    cfg.MODEL.DEVICE = "cuda:7"
    extra = {"config": cfg.dump(), "class_names": CLASSES}
    DetectionCheckpointer(model, str(folder), extra=extra).save("model_final")
    (folder / "last_checkpoint").unlink()
    return folder / "model_final.pth"


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """A folder with four pictures, two of them of one size, and a text file."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(3):
        Image.fromarray(read_image(f"shapes://val/{number}", "RGB")).save(folder / f"{number}.png")
    Image.fromarray(read_image("shapes://val/0", "RGB")[:, ::-1]).save(folder / "3.png")
    (folder / "notes.txt").write_text("not a picture")
    return folder
