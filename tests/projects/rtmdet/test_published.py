"""Weights by MMDetection's names give the outputs and losses that MMDetection 3.3.0 gave.

The figures were recorded from its models, built from its configuration files with a fourth of the
channels and three classes, in evaluation mode, with the weights of `published.drawn_weights`.
"""

import pytest
import torch

from d2lite.modeling import build_model

from ..published import batch, check_levels, load_drawn
from .small import small_cfg, their_name

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
    load_drawn(model, their_name, tmp_path, meta={"epoch": 300})
    return request.param, model


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


def test_outputs(loaded):
    name, model = loaded
    with torch.no_grad():
        maps = model.backbone(torch.stack([item["image"] for item in batch()]))
        features = [maps[level] for level in model.in_features]
        logits, distances, kernels = model.head(features)
    check_levels(distances, DISTANCES[name])
    if name == "rtmdet_ins_tiny":
        check_levels(kernels, KERNELS)
        with torch.no_grad():
            check_levels([model.mask_head(features)], PROTOTYPES)
    else:
        check_levels(logits, LOGITS)


def test_losses(loaded):
    name, model = loaded
    with torch.no_grad():
        losses = model.losses(batch())
    assert [value.item() for value in losses.values()] == pytest.approx(LOSSES[name], rel=1e-4)
