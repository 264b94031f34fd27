"""Deltas and boxes: against numpy, there and back, and the dense loss."""

import math

import numpy as np
import pytest
import torch

from d2lite.modeling.box_regression import (
    Box2BoxTransform,
    Box2BoxTransformLinear,
    Box2BoxTransformRotated,
    _dense_box_regression_loss,
)
from d2lite.structures import Boxes
from d2lite.utils.errors import ConfigError

WEIGHTS = (10.0, 10.0, 5.0, 5.0)
KINDS = ["smooth_l1", "balanced_l1", "iou", "bounded_iou", "giou", "diou", "ciou", "eiou"]


def random_boxes(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=generator) * 100
    return torch.cat((low, low + 1 + torch.rand(count, 2, generator=generator) * 80), dim=1)


def random_rotated(count, seed=0):
    boxes = random_boxes(count, seed)
    angle = torch.rand(count, 1, generator=torch.Generator().manual_seed(seed)) * 360 - 180
    return torch.cat((boxes[:, :2], boxes[:, 2:] - boxes[:, :2], angle), dim=1)


def test_deltas_follow_the_definition():
    src, target = random_boxes(20, 1), random_boxes(20, 2)
    got = Box2BoxTransform(WEIGHTS).get_deltas(src, target)
    for s, t, row in zip(src.double().numpy(), target.double().numpy(), got, strict=True):
        (sw, sh), (tw, th) = s[2:] - s[:2], t[2:] - t[:2]
        want = [
            10 * ((t[0] + t[2]) - (s[0] + s[2])) / 2 / sw,
            10 * ((t[1] + t[3]) - (s[1] + s[3])) / 2 / sh,
            5 * math.log(tw / sw),
            5 * math.log(th / sh),
        ]
        np.testing.assert_allclose(row, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "transform",
    [
        Box2BoxTransform(WEIGHTS),
        Box2BoxTransform((1.0, 2.0, 3.0, 4.0)),
        Box2BoxTransformRotated((1.0, 1.0, 2.0, 2.0, 3.0)),
    ],
)
def test_applying_deltas_gives_the_target_back(transform):
    make = random_rotated if isinstance(transform, Box2BoxTransformRotated) else random_boxes
    src, target = make(50, 1), make(50, 2)
    back = transform.apply_deltas(transform.get_deltas(src, target), src)
    torch.testing.assert_close(back, target, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("normalize", [True, False])
def test_distances_to_sides_give_boxes_around_the_centre_back(normalize):
    src = random_boxes(30)
    centre = (src[:, :2] + src[:, 2:]) / 2
    target = torch.cat((centre - torch.rand(30, 2) * 40, centre + torch.rand(30, 2) * 40), dim=1)
    transform = Box2BoxTransformLinear(normalize_by_size=normalize)
    back = transform.apply_deltas(transform.get_deltas(src, target), src)
    torch.testing.assert_close(back, target, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("transform", "dim"),
    [
        (Box2BoxTransform(WEIGHTS), 4),
        (Box2BoxTransformLinear(), 4),
        (Box2BoxTransformRotated((1.0,) * 5), 5),
    ],
)
def test_several_predictions_a_box_decode_as_each_alone(transform, dim):
    boxes = random_boxes(6) if dim == 4 else random_rotated(6)
    deltas = torch.randn(6, 3 * dim)
    together = transform.apply_deltas(deltas, boxes)
    alone = [transform.apply_deltas(part, boxes) for part in deltas.split(dim, dim=1)]
    torch.testing.assert_close(together, torch.cat(alone, dim=1))


@pytest.mark.parametrize("transform", [Box2BoxTransform(WEIGHTS), Box2BoxTransformLinear()])
def test_no_boxes_decode_to_no_boxes(transform):
    assert transform.apply_deltas(torch.zeros(0, 12), torch.zeros(0, 4)).shape == (0, 12)
    assert transform.get_deltas(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0, 4)


def test_growth_is_clamped_and_half_precision_is_not_used_for_coordinates():
    boxes = torch.tensor([[0.0, 0.0, 16.0, 16.0]])
    decoded = Box2BoxTransform((1.0,) * 4).apply_deltas(
        torch.tensor([[0.0, 0.0, 100.0, 100.0]], dtype=torch.float16), boxes
    )
    assert decoded.dtype == torch.float32
    torch.testing.assert_close(decoded, torch.tensor([[-492.0, -492.0, 508.0, 508.0]]))


def test_a_turn_goes_the_short_way_round():
    transform = Box2BoxTransformRotated((1.0,) * 5)
    src = torch.tensor([[0.0, 0.0, 10.0, 10.0, 170.0]])
    target = torch.tensor([[0.0, 0.0, 10.0, 10.0, -170.0]])
    assert transform.get_deltas(src, target)[0, 4].item() == pytest.approx(math.radians(20))


def test_unequal_numbers_of_deltas_and_boxes_are_refused():
    with pytest.raises(ValueError, match="3 deltas for 2 boxes"):
        Box2BoxTransform(WEIGHTS).apply_deltas(torch.zeros(3, 4), torch.zeros(2, 4))


def dense_inputs(num_fg):
    anchors = [Boxes(random_boxes(6, 1)), Boxes(random_boxes(3, 2))]
    deltas = [torch.randn(2, 6, 4, requires_grad=True), torch.randn(2, 3, 4, requires_grad=True)]
    gt = [random_boxes(9, 3), random_boxes(9, 4)]
    mask = torch.zeros(2, 9, dtype=torch.bool)
    mask.view(-1)[torch.randperm(18)[:num_fg]] = True
    return anchors, deltas, gt, mask


@pytest.mark.parametrize("kind", KINDS)
def test_dense_loss_is_the_sum_over_foreground_one_by_one(kind):
    anchors, deltas, gt, mask = dense_inputs(7)
    transform = Box2BoxTransform(WEIGHTS)
    whole = _dense_box_regression_loss(anchors, transform, deltas, gt, mask, kind, 0.1)
    parts = 0.0
    for position in mask.nonzero():
        one = torch.zeros_like(mask)
        one[tuple(position)] = True
        parts += _dense_box_regression_loss(anchors, transform, deltas, gt, one, kind, 0.1)
    torch.testing.assert_close(whole, parts)


def test_dense_l1_loss_is_the_absolute_difference_of_deltas():
    anchors, deltas, gt, mask = dense_inputs(5)
    transform = Box2BoxTransform(WEIGHTS)
    got = _dense_box_regression_loss(anchors, transform, deltas, gt, mask)
    target = torch.stack([transform.get_deltas(Boxes.cat(anchors).tensor, x) for x in gt])
    want = (torch.cat(deltas, 1) - target).abs().sum(2)[mask].sum()
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("kind", KINDS)
def test_dense_loss_without_foreground_is_zero_with_a_gradient(kind):
    """Background anchors may carry a box of no size: it must not be looked at."""
    anchors, deltas, gt, mask = dense_inputs(0)
    gt = [torch.zeros_like(x) for x in gt]
    transform = Box2BoxTransform(WEIGHTS)
    loss = _dense_box_regression_loss(anchors, transform, deltas, gt, mask, kind, 0.1)
    loss.backward()
    assert loss.item() == 0
    assert all(x.grad is not None and not x.grad.any() for x in deltas)


def test_an_unknown_loss_is_refused_with_the_known_ones():
    anchors, deltas, gt, mask = dense_inputs(2)
    with pytest.raises(ConfigError, match=r"'l3'.*smooth_l1.*ciou"):
        _dense_box_regression_loss(anchors, Box2BoxTransform(WEIGHTS), deltas, gt, mask, "l3")
