"""Box and score losses against their formulas in numpy."""

import math

import numpy as np
import pytest
import torch
from torchvision.ops import generalized_box_iou_loss

from d2lite.layers import (
    balanced_l1_loss,
    bounded_iou_loss,
    ciou_loss,
    diou_loss,
    distribution_focal_loss,
    eiou_loss,
    giou_loss,
    heatmap_focal_loss,
    iou_loss,
    rotated_iou_loss,
    sigmoid_focal_loss,
    smooth_l1_loss,
    varifocal_loss,
)


def oracle(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """The losses of two boxes, from the papers."""
    inter = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
    size_a, size_b = a[2:] - a[:2], b[2:] - b[:2]
    union = size_a.prod() + size_b.prod() - inter
    iou = inter / union
    hull = np.maximum(a[2:], b[2:]) - np.minimum(a[:2], b[:2])
    distance = (((a[:2] + a[2:]) / 2 - (b[:2] + b[2:]) / 2) ** 2).sum() / (hull**2).sum()
    turn = math.atan(size_a[0] / size_a[1]) - math.atan(size_b[0] / size_b[1])
    v = 4 / math.pi**2 * turn**2
    shift = np.abs((a[:2] + a[2:]) / 2 - (b[:2] + b[2:]) / 2)
    best = [
        *np.maximum(0, (size_b - 2 * shift) / (size_b + 2 * shift + 1e-3)),
        *np.minimum(size_b / (size_a + 1e-3), size_a / (size_b + 1e-3)),
    ]
    return {
        "iou": -math.log(max(iou, 1e-6)),
        "giou": 1 - iou + (hull.prod() - union) / hull.prod(),
        "diou": 1 - iou + distance,
        "ciou": 1 - iou + distance + v * v / (1 - iou + v + 1e-12),
        "eiou": 1 - iou + distance + ((size_a - size_b) ** 2 / hull**2).sum(),
        "bounded_iou": sum((1 - x) ** 2 / 0.4 if x > 0.8 else 0.9 - x for x in best),
    }


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("iou", iou_loss),
        ("bounded_iou", bounded_iou_loss),
        ("giou", giou_loss),
        ("diou", diou_loss),
        ("ciou", ciou_loss),
        ("eiou", eiou_loss),
    ],
)
def test_box_losses_follow_their_papers(name, loss):
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 30, (2, 20, 2))
    boxes = np.concatenate([low, low + rng.uniform(2, 40, (2, 20, 2))], axis=2)
    values = [oracle(a, b)[name] for a, b in zip(*boxes, strict=True)]
    expected = torch.tensor(values, dtype=torch.float64)
    a, b = torch.from_numpy(boxes)
    torch.testing.assert_close(loss(a, b), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(loss(a, b, reduction="mean"), expected.mean())
    torch.testing.assert_close(loss(a, b, reduction="sum"), expected.sum())


@pytest.mark.parametrize("is_on_grid", [False, True])
def test_giou_is_that_of_torchvision_to_the_bit(is_on_grid):
    """Recorded trainings rest on its rounding; on a grid many edges are equal."""
    boxes, others = torch.rand(2, 300, 4)
    if is_on_grid:
        boxes, others = (boxes * 8).round() / 8, (others * 8).round() / 8
    found = []
    for loss in (giou_loss, generalized_box_iou_loss):
        both = [torch.cat([b[:, :2], b[:, :2] + b[:, 2:]], 1) for b in (boxes, others)]
        both = [box.requires_grad_() for box in both]
        values = loss(*both)
        (values * torch.arange(300)).sum().backward()
        found.append(torch.cat([values.detach()[:, None], *(box.grad for box in both)], dim=1))
    torch.testing.assert_close(*found, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    "loss", [iou_loss, bounded_iou_loss, giou_loss, diou_loss, ciou_loss, eiou_loss]
)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_box_losses_of_nothing_are_zero_with_a_gradient(loss, reduction):
    boxes = torch.zeros(0, 4, requires_grad=True)
    value = loss(boxes, torch.zeros(0, 4), reduction=reduction)
    value.backward()
    assert value.item() == 0


def test_smooth_l1_is_quadratic_below_beta_and_linear_above():
    x = torch.tensor([0.0, 0.5, 1.0, 3.0])
    found = smooth_l1_loss(x, torch.zeros(4), beta=1.0)
    torch.testing.assert_close(found, torch.tensor([0.0, 0.125, 0.5, 2.5]))


def test_smooth_l1_with_beta_zero_is_l1_with_finite_gradients():
    x = torch.tensor([0.0, -2.0], requires_grad=True)
    loss = smooth_l1_loss(x, torch.zeros(2), beta=0.0, reduction="sum")
    loss.backward()
    assert loss.item() == 2
    assert x.grad.tolist() == [0.0, -1.0]
    assert smooth_l1_loss(x[:0], torch.zeros(0), 0.0, "mean").item() == 0


def test_smooth_l1_with_a_tiny_beta_is_l1():
    """Configurations of published models write 1e-6 and the like for "plain L1"."""
    x = torch.tensor([1e-6])
    assert smooth_l1_loss(x, torch.zeros(1), beta=9e-6).equal(x)
    quadratic = smooth_l1_loss(x, torch.zeros(1), beta=1e-5)
    torch.testing.assert_close(quadratic, torch.tensor([5e-8]), rtol=1e-5, atol=0)


def test_balanced_l1_joins_its_pieces_and_has_the_slope_of_the_paper():
    """Source: Pang 2019, arXiv:1904.02701, equations 9 and 10, with alpha 0.5 and gamma 1.5."""
    x = torch.tensor([0.0, 0.2, 0.7, 0.999999, 1.000001, 4.0], dtype=torch.float64)
    x.requires_grad_()
    loss = balanced_l1_loss(x, torch.zeros_like(x))
    (slope,) = torch.autograd.grad(loss.sum(), x)
    b = math.exp(3) - 1
    y = x.detach().numpy()
    low = 0.5 / b * (b * y + 1) * np.log(b * y + 1) - 0.5 * y
    np.testing.assert_allclose(loss.detach(), np.where(y < 1, low, 1.5 * y + 1.5 / b - 0.5))
    np.testing.assert_allclose(slope[1:], np.where(y < 1, 0.5 * np.log(b * y + 1), 1.5)[1:])
    assert (loss[4] - loss[3]).item() == pytest.approx(3e-6, rel=1e-3)


def test_balanced_l1_needs_a_beta():
    with pytest.raises(ValueError, match=r"beta=0.0 .*SMOOTH_L1_BETA"):
        balanced_l1_loss(torch.ones(1), torch.ones(1), 0.0)


def test_unknown_reduction_is_refused():
    with pytest.raises(ValueError, match="Unknown reduction 'avg'; use 'none', 'mean' or 'sum'"):
        smooth_l1_loss(torch.ones(1), torch.ones(1), 1.0, "avg")


@pytest.mark.parametrize("alpha", [-1, 0.25])
def test_focal_loss_follows_its_paper(alpha):
    x, y = torch.tensor([-1.0, 0.3, 2.0, 0.1]), torch.tensor([0.0, 1.0, 1.0, 0.0])
    p = 1 / (1 + np.exp(-x.numpy()))
    right = np.where(y == 1, p, 1 - p)
    weight = np.where(y == 1, alpha, 1 - alpha) if alpha >= 0 else 1
    expected = -weight * (1 - right) ** 1.5 * np.log(right)
    found = sigmoid_focal_loss(x, y, alpha=alpha, gamma=1.5)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_loss_has_a_finite_slope_where_the_answer_is_certain(gamma):
    """A power below 1 has an infinite slope at 0, which certain answers reach in float32."""
    logits = torch.tensor([-300.0, -60.0, -17.0, 17.0, 60.0, 300.0], requires_grad=True)
    for truth in (0.0, 1.0):
        loss = sigmoid_focal_loss(logits, torch.full((6,), truth), alpha=0.25, gamma=gamma)
        (slope,) = torch.autograd.grad(loss.sum(), logits)
        assert torch.isfinite(loss).all()
        assert torch.isfinite(slope).all()


def test_heatmap_focal_loss_follows_its_paper():
    """Peaks count fully; other cells the less, the higher they are."""
    x, heights = torch.tensor([-2.0, 0.5, 3.0, 1.0]), torch.tensor([1.0, 0.6, 0.0, 1.0])
    p = x.sigmoid()
    at_peak = -((1 - p) ** 1.5) * p.log()
    elsewhere = -((1 - heights) ** 3) * p**1.5 * (1 - p).log()
    expected = torch.where(heights == 1, at_peak, elsewhere)
    torch.testing.assert_close(heatmap_focal_loss(x, heights, alpha=1.5, beta=3.0), expected)
    assert heatmap_focal_loss(x[:0], heights[:0], reduction="mean") == 0


def test_varifocal_loss_follows_its_paper():
    x, q = torch.tensor([-1.0, 0.3, 2.0, 0.1]), torch.tensor([0.0, 0.8, 0.4, 0.0])
    p, quality = 1 / (1 + np.exp(-x.numpy())), q.numpy()
    entropy = -(quality * np.log(p) + (1 - quality) * np.log(1 - p))
    expected = np.where(quality > 0, quality * entropy, -0.6 * p**1.5 * np.log(1 - p))
    found = varifocal_loss(x, q, alpha=0.6, gamma=1.5)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_distribution_focal_loss_follows_its_paper():
    """Of 2.25 it is three quarters of the cross-entropy with 2, and one quarter of that with 3."""
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    values = torch.tensor([2.25, 0.0, 3.9])
    entropy = -logits.softmax(dim=1).log().numpy()
    expected = [
        0.75 * entropy[0, 2] + 0.25 * entropy[0, 3],
        entropy[1, 0],
        0.1 * entropy[2, 3] + 0.9 * entropy[2, 4],
    ]
    np.testing.assert_allclose(distribution_focal_loss(logits, values), expected, rtol=1e-5)
    assert distribution_focal_loss(logits[:0], values[:0], "mean").item() == 0


def test_rotated_iou_loss_has_the_slope_of_its_values():
    """Also of upright boxes, whose edges lie along those of the other box."""
    first = torch.tensor([[10.0, 10, 8, 4, 0], [10, 10, 8, 4, 30], [5, 5, 6, 6, 10]]).double()
    second = torch.tensor([[11.0, 10.5, 8, 5, 0], [9, 11, 7, 5, 50], [6, 5, 6, 4, 0]]).double()
    first.requires_grad_()
    loss = rotated_iou_loss(first, second)
    (slope,) = torch.autograd.grad(loss.sum(), first)
    step = 1e-2
    for column in range(5):
        moved = torch.zeros(5, dtype=torch.float64)
        moved[column] = step
        with torch.no_grad():
            up, down = (rotated_iou_loss(first + sign * moved, second) for sign in (1, -1))
        # At angle 0 the IoU of parallel boxes has a bend.
        rows = slice(1, 3) if column == 4 else slice(None)
        measured = ((up - down) / (2 * step))[rows]
        torch.testing.assert_close(slope[rows, column].float(), measured, rtol=0.02, atol=1e-3)
    assert torch.isfinite(slope).all()
    upright = torch.tensor([[4.0, 4, 8, 6, 0]]), torch.tensor([[6.0, 4, 8, 6, 0]])
    assert rotated_iou_loss(*upright).item() == pytest.approx(1 - 36 / 60)


def test_rotated_boxes_that_share_nothing_lose_one_without_a_slope():
    boxes = torch.tensor([[0.0, 0, 2, 2, 0]], requires_grad=True)
    loss = rotated_iou_loss(boxes, torch.tensor([[9.0, 9, 2, 2, 0]]), "sum")
    loss.backward()
    assert loss.item() == 1
    assert not boxes.grad.any()
