"""The models: fixed-size form, gradients in passes, parts, options that are refused."""

import pytest
import torch

from d2lite.layers import DeformConv
from d2lite.modeling import build_model
from d2lite.projects.dense.gfl import expected_distances
from d2lite.projects.dense.vfnet_head import star_offsets
from d2lite.structures import Boxes
from d2lite.utils.errors import ConfigError

from ..runs import both_forms, gradients
from .small import NUM_CLASSES, RECIPES, image, small_cfg


@pytest.fixture(params=RECIPES)
def model(request):
    torch.manual_seed(0)
    return build_model(small_cfg(request.param))


def test_the_fixed_size_form_detects_the_same(model):
    model.eval()
    with torch.no_grad():
        for layer in model.head.modules():
            if isinstance(layer, torch.nn.Conv2d | DeformConv):
                layer.weight.mul_(8)
    model.test_score_thresh = 0.01
    plain, padded = both_forms(model, [image(0, 0), image(1, 0, 48, 96)])
    for i, found in enumerate(plain):
        valid = padded["valid"][i]
        assert len(found) == valid.sum() > 0
        torch.testing.assert_close(padded["scores"][i][valid], found.scores)
        torch.testing.assert_close(padded["boxes"][i][valid], found.pred_boxes.tensor)


@pytest.mark.parametrize("kind", RECIPES)
def test_gradients_in_passes_are_those_of_one(kind):
    """Losses are divided by sums over the batch, also where an image has no object."""

    def compute(parts):
        torch.manual_seed(0)
        # Group norm needs two values a group, also where a map has one cell.
        model = build_model(
            small_cfg(kind, "MODEL.BACKBONE.FREEZE_AT", 0, "MODEL.FPN.OUT_CHANNELS", 64)
        )
        return gradients(model, [image(seed, n) for seed, n in enumerate((1, 4, 0, 2))], parts)

    one, several = compute(1), compute(4)
    for name, value in one.items():
        scale = value.abs().max().clamp(min=1e-4)
        assert (several[name] - value).abs().max() < 2e-3 * scale, name


def test_a_distribution_at_one_number_means_that_distance():
    logits = torch.full((4, 17), -50.0)
    for side, distance in enumerate((0, 3, 7, 16)):
        logits[side, distance] = 50.0
    found = expected_distances(logits.flatten()[None])
    torch.testing.assert_close(found, torch.tensor([[0.0, 3.0, 7.0, 16.0]]))


def test_the_star_samples_centre_sides_and_corners():
    """Added to the nine taps of a plain convolution, offsets give points of the box."""
    left, top, right, low = 2.0, 3.0, 4.0, 5.0
    offsets = star_offsets(torch.tensor([left, top, right, low]).view(1, 4, 1, 1)).view(9, 2)
    taps = torch.tensor([[y, x] for y in (-1.0, 0, 1) for x in (-1.0, 0, 1)])
    places = {tuple(point) for point in (taps + offsets).tolist()}
    assert places == {(y, x) for y in (-top, 0, low) for x in (-left, 0, right)}


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("DISTANCES", "log", 'use "exp" or "relu"'),
        ("BOX_LOSS", "l1", "use one of"),
        ("CENTERNESS_TOWER", "both", 'use "class" or "box"'),
        ("PRIOR_PROB", 0.0, "between 0 and 1"),
        ("IN_FEATURES", ["p3", "p9"], "p9"),
    ],
)
def test_other_options_are_refused_with_those_there_are(option, value, message):
    with pytest.raises(ConfigError, match=message):
        build_model(small_cfg("ScaledFCOS", f"MODEL.DENSE.{option}", value))


def test_sides_that_overflow_end_at_the_image():
    model = build_model(small_cfg("ScaledFCOS")).eval()
    model.test_score_thresh = 0.0
    anchors, scores = [Boxes(torch.tensor([[20.0, 20, 28, 28]]))], [torch.ones(1, NUM_CLASSES)]
    found = model.inference_single_image(
        anchors, scores, [torch.tensor([[2.0, float("inf"), 3, float("inf")]])], (40, 50)
    )
    assert found.pred_boxes.tensor[0].tolist() == [22, 0, 27, 40]
