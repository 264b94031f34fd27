"""Weights by published names give the outputs and losses that other libraries gave.

The figures were recorded from the models of MMDetection 3.3.0, built from its configuration files
with a fourth of the channels and three classes, in evaluation mode, with the weights of
`published.drawn_weights`; those of the authors' repository from its models, in the package
pixeltable-yolox 0.4.3, in the same way.
"""

import pytest
import torch

from d2lite.modeling import build_model

from ..published import batch, check_levels, load_drawn
from .small import small_cfg

OPTS = [
    "MODEL.CSPDARKNET.WIDTH", "0.25",
    "MODEL.PIXEL_MEAN", "[0.0, 0.0, 0.0]",
    "MODEL.PIXEL_STD", "[1.0, 1.0, 1.0]",
    "MODEL.YOLOX.L1_LAST_PART", "1.0",
]  # fmt: skip
BRANCHES = {"main": 1, "short": 2, "final": 3}


def name_in_mmdetection(name: str) -> str:
    for ours, theirs in (
        ("backbone.bottom_up.", "backbone."),
        ("backbone.", "neck."),
        ("head.", "bbox_head.multi_level_"),
    ):
        if name.startswith(ours):
            name = theirs + name.removeprefix(ours)
            break
    for kind in ("cls", "reg", "obj"):
        name = name.replace(f"{kind}_preds", f"conv_{kind}")
    return name


def name_of_the_authors(name: str) -> str:
    for stage in range(1, 5):
        name = name.replace(f"bottom_up.stage{stage}.", f"backbone.dark{stage + 1}.")
    for ours, theirs in {
        "bottom_up.": "backbone.",
        "reduce_layers.0": "lateral_conv0",
        "reduce_layers.1": "reduce_conv1",
        "downsamples.0": "bu_conv2",
        "downsamples.1": "bu_conv1",
        "top_down_blocks.0": "C3_p4",
        "top_down_blocks.1": "C3_p3",
        "bottom_up_blocks.0": "C3_n3",
        "bottom_up_blocks.1": "C3_n4",
        "backbone.out_convs": "head.stems",
        ".blocks.": ".m.",
        "depthwise_conv": "dconv",
        "pointwise_conv": "pconv",
        **{f".{branch}_conv.": f".conv{number}." for branch, number in BRANCHES.items()},
    }.items():
        name = name.replace(ours, theirs)
    return name


# Of each level: the mean, and the largest absolute value; of maps, logits, deltas and objectness.
OUTPUTS = {
    "yolox_s": (
        [(0.005967, 0.48183), (-0.010873, 0.22797), (-0.006218, 0.3639)],
        [(-0.119638, 0.27107), (0.056241, 0.25385), (0.103451, 0.37633)],
        [(2.100756, 2.24136), (1.99609, 2.39053), (1.915622, 2.17027)],
        [(0.110099, 0.17484), (0.017912, 0.05955), (-0.153204, 0.20043)],
    ),
    "yolox_nano": (
        [(0.003098, 0.22568), (-0.009202, 0.25329), (-0.005106, 0.28227)],
        [(-0.066634, 0.16878), (-0.02893, 0.1332), (0.178685, 0.41587)],
        [(2.153767, 2.40376), (2.042546, 2.45924), (1.912539, 2.03603)],
        [(0.148969, 0.19726), (0.024363, 0.0461), (-0.00385, 0.03584)],
    ),
}
LOSSES = {
    "yolox_s": (20.437143, 1.981272, 2.763837, 1.732257),
    "yolox_nano": (20.968531, 2.03037, 2.954021, 1.964835),
}


@pytest.fixture
def outputs():
    """What a model gives for the recorded batch, as in OUTPUTS."""

    def run(model):
        pixels = torch.stack([item["image"] for item in batch()])
        with torch.no_grad():
            maps = model.backbone(pixels)
            features = [maps[level] for level in model.in_features]
            return features, *model.head(features)

    return run


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_and_losses_of_mmdetection(name, outputs, tmp_path):
    model = build_model(small_cfg(f"{name}.yaml", *OPTS)).eval()
    load_drawn(model, name_in_mmdetection, tmp_path)
    for levels, expected in zip(outputs(model), OUTPUTS[name], strict=True):
        check_levels(levels, expected)
    with torch.no_grad():
        losses = model.losses(batch())
    assert list(losses) == ["loss_obj", "loss_cls", "loss_bbox", "loss_l1"]
    assert [value.item() for value in losses.values()] == pytest.approx(LOSSES[name], rel=1e-4)


# Of all cells: mean and largest value of centres, sizes, objects and classes.
OF_THE_AUTHORS = {
    "yolox_s": [
        (49.227524, 119.88999),
        (11.65782, 34.02805),
        (0.509883, 0.52092),
        (0.471098, 0.55682),
    ],
    "yolox_nano": [
        (50.079488, 120.12386),
        (11.054118, 31.0761),
        (0.51432, 0.57153),
        (0.489194, 0.54781),
    ],
}


@pytest.mark.parametrize("name", OF_THE_AUTHORS)
def test_results_of_the_authors(name, tmp_path):
    """Their checkpoints hold the weights of a training and its optimizer."""
    model = build_model(small_cfg(f"{name}.yaml", *OPTS)).eval()
    load_drawn(model, name_of_the_authors, tmp_path, "model", start_epoch=300, optimizer={})
    with torch.no_grad():
        cells = model._run(torch.stack([item["image"] for item in batch()]))
    low, high = cells.boxes[..., :2], cells.boxes[..., 2:]
    scores = [cells.objectness.sigmoid(), cells.logits.sigmoid()]
    check_levels([(low + high) / 2, high - low, *scores], OF_THE_AUTHORS[name])
