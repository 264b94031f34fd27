"""Weights of MMDetection give the outputs and losses that they have there.

The figures were recorded from the model that MMDetection 3.3.0 builds from its configuration file
with a fourth of the channels and three classes, with the weights of `published.drawn_weights`,
those of the last convolutions times 0.01.
"""

import pytest
import torch

from d2lite.config import find_config_file, get_cfg
from d2lite.modeling import build_model
from d2lite.projects.yolov3 import YOLOV3, add_yolov3_config

from ..published import batch, check_levels, load_drawn

# Of each map: the mean, and the largest absolute value; of maps and predictions.
MAPS = [(61.629627, 986.53662), (86.841795, 750.48572), (27.694703, 208.52774)]
PREDICTIONS = [(0.182768, 4.6506), (0.026607, 7.23486), (0.032316, 2.1277)]
# Of both images with their objects, and with those of the first alone.
LOSSES = [
    (16.011222, 1870.703736, 32.295999, 25.584125),
    (15.288956, 1878.066162, 22.451589, 24.224182),
]


def name_in_mmdetection(name: str) -> str:
    for ours, theirs in (
        ("backbone.bottom_up.", "backbone."),
        ("backbone.", "neck."),
        ("head.", "bbox_head."),
    ):
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    raise ValueError(name)


def test_outputs_and_losses(tmp_path):
    cfg = get_cfg()
    add_yolov3_config(cfg)
    cfg.merge_from_file(find_config_file("yolov3_608.yaml"))
    narrow = ["MODEL.DARKNET.WIDTH", 0.25, "MODEL.YOLOV3.NUM_CLASSES", 3, "MODEL.DEVICE", "cpu"]
    cfg.merge_from_list([*narrow, "MODEL.PIXEL_STD", [1.0, 1.0, 1.0]])
    model = build_model(cfg).eval()
    load_drawn(model, name_in_mmdetection, tmp_path)
    for layer in model.head.convs_pred:
        layer.weight.data *= 0.01
    with torch.no_grad():
        maps = list(model.backbone(torch.stack([item["image"] for item in batch()])).values())
        check_levels(maps, MAPS)
        check_levels(model.head(maps), PREDICTIONS)
        items = batch()
        for expected in LOSSES:
            losses = model.losses(items)
            assert list(losses) == ["loss_cls", "loss_conf", "loss_xy", "loss_wh"]
            assert [value.item() for value in losses.values()] == pytest.approx(expected, rel=1e-4)
            items[1]["instances"] = items[1]["instances"][:0]


def test_the_number_of_parameters_is_the_published_one():
    """Of the model that MMDetection 3.3.0 builds from its file."""
    cfg = get_cfg()
    add_yolov3_config(cfg)
    cfg.merge_from_file(find_config_file("yolov3_608.yaml"))
    with torch.device("meta"):
        model = YOLOV3(cfg)
    assert sum(value.numel() for value in model.parameters()) == 61949149
