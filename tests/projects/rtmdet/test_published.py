"""Weights by MMDetection's names give the outputs and losses that MMDetection 3.3.0 gave.

The figures were recorded from its models, built from its configuration files with a fourth of the
channels and three classes, in evaluation mode, with the weights of `small.drawn_weights`.
"""

import numpy as np
import pytest
import torch

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.modeling import build_model
from d2lite.structures import BitMasks, Boxes, Instances

from .small import drawn_weights, small_cfg, their_name

OPTS = [
    "MODEL.CSPNEXT.WIDTH", "0.25",
    "MODEL.PIXEL_MEAN", "[0.0, 0.0, 0.0]",
    "MODEL.PIXEL_STD", "[1.0, 1.0, 1.0]",
]  # fmt: skip


@pytest.fixture(params=["rtmdet_ins_tiny", "rtmdet_s", "rtmdet_m"])
def loaded(request, tmp_path):
    """The name of a recipe and its model with the drawn weights, by way of a file."""
    depth = ["MODEL.CSPNEXT.DEPTH", "0.167"]
    model = build_model(small_cfg(f"{request.param}.yaml", *depth, *OPTS)).eval()
    shapes = {their_name(name): value.shape for name, value in model.state_dict().items()}
    content = {"meta": {"epoch": 300}, "state_dict": drawn_weights(shapes)}
    torch.save(content, tmp_path / "theirs.pth")
    checkpointer = DetectionCheckpointer(model)
    checkpointer.load(str(tmp_path / "theirs.pth"))
    report = checkpointer.report
    assert not report.missing
    assert not report.unexpected
    return request.param, model


def _batch():
    pixels = torch.from_numpy(np.random.RandomState(0).randn(2, 3, 96, 128)).float()
    boxes = [[[10, 12, 60, 70], [50, 20, 120, 90], [30, 40, 44, 52]], [[5, 5, 90, 60]]]
    batch = []
    for image, rows, classes in zip(pixels, boxes, ([0, 2, 1], [1]), strict=True):
        masks = torch.zeros(len(rows), 96, 128, dtype=torch.bool)
        for mask, (x0, y0, x1, y1) in zip(masks, rows, strict=True):
            mask[y0:y1, x0:x1] = True
            mask[y0 : (y0 + y1) // 2, x0 : (x0 + x1) // 2] = False
        truth = Instances(
            (96, 128),
            gt_boxes=Boxes(torch.tensor(rows).float()),
            gt_classes=torch.tensor(classes),
            gt_masks=BitMasks(masks),
        )
        batch.append({"image": image, "instances": truth})
    return batch


# Of each level: the mean, and the largest absolute value.
LOGITS = [(0.005336, 0.27798), (0.06625, 0.27024), (0.006005, 0.33312)]
DISTANCES = {
    "rtmdet_ins_tiny": [(15.87775, 17.52695), (32.696264, 34.28519), (63.359764, 71.51302)],
    "rtmdet_s": [(15.87775, 17.52695), (32.696264, 34.28519), (63.359764, 71.51302)],
    "rtmdet_m": [(58.441301, 71.54384), (123.592658, 136.37564), (234.32732, 299.02222)],
}
KERNELS = [(-0.010187, 0.50419), (-0.010703, 0.51199), (-0.001956, 0.44295)]
PROTOTYPES = [(0.050012, 0.34403)]
LOSSES = {
    "rtmdet_ins_tiny": (20.745785 + 6.901862 + 1.272118, 0.031002 + 0.923085, 1.05968),
    "rtmdet_s": (23.216797 + 5.980919 + 1.475754, 0.031002 + 0.923085),
    "rtmdet_m": (63.77787 + 17.476015 + 4.083408, 1.338648),
}


def _is_like(tensors, expected):
    for tensor, (mean, largest) in zip(tensors, expected, strict=True):
        assert tensor.mean().item() == pytest.approx(mean, rel=1e-4, abs=2e-5)
        assert tensor.abs().max().item() == pytest.approx(largest, rel=1e-4)


def test_outputs(loaded):
    name, model = loaded
    with torch.no_grad():
        maps = model.backbone(torch.stack([item["image"] for item in _batch()]))
        features = [maps[level] for level in model.in_features]
        logits, distances, kernels = model.head(features)
    _is_like(distances, DISTANCES[name])
    if name == "rtmdet_ins_tiny":
        _is_like(kernels, KERNELS)
        with torch.no_grad():
            _is_like([model.mask_head(features)], PROTOTYPES)
    else:
        _is_like(logits, LOGITS)


def test_losses(loaded):
    name, model = loaded
    with torch.no_grad():
        losses = model.losses(_batch())
    assert [value.item() for value in losses.values()] == pytest.approx(LOSSES[name], rel=1e-4)
