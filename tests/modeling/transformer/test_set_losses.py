"""Losses and costs of classes and boxes against their formulas in numpy."""

import numpy as np
import pytest
import torch

from d2lite.modeling.transformer import (
    focal_class_costs,
    focal_losses,
    matchability_losses,
    pairwise_box_costs,
    softmax_class_costs,
    softmax_losses,
    varifocal_losses,
)

K = 3
LOGITS = torch.linspace(-3, 3, 2 * 4 * K, dtype=torch.float64).view(2, 4, K)
LABELS = torch.tensor([[0, 3, 2, 1], [3, 3, 3, 2]])
QUALITY = torch.tensor([[0.9, 0.7, 0.0, 0.3], [0.5, 0.5, 0.5, 1.0]], dtype=torch.float64)


def _entropy(p, wanted):
    return -(wanted * np.log(p) + (1 - wanted) * np.log(1 - p))


def _by_formula(of_object, of_other):
    """(2, 4, K) from functions of (p, quality) and of p."""
    p = 1 / (1 + np.exp(-LOGITS.numpy()))
    out = np.zeros(p.shape)
    for n, q, k in np.ndindex(*p.shape):
        is_object = LABELS[n, q] == k
        quality = QUALITY[n, q].item()
        out[n, q, k] = of_object(p[n, q, k], quality) if is_object else of_other(p[n, q, k])
    return out


def test_varifocal_loss_is_weighted_by_quality_or_by_the_prediction():
    found = varifocal_losses(LOGITS, LABELS, QUALITY, alpha=0.75, gamma=2.0)
    expected = _by_formula(
        lambda p, q: q * _entropy(p, q), lambda p: 0.75 * p**2 * _entropy(p, 0.0)
    )
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_matchability_loss_has_full_weight_for_poor_boxes():
    found = matchability_losses(LOGITS, LABELS, QUALITY, alpha=1.0, gamma=1.5)
    expected = _by_formula(lambda p, q: _entropy(p, q**1.5), lambda p: p**1.5 * _entropy(p, 0.0))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_focal_loss_does_not_depend_on_quality():
    found = focal_losses(LOGITS, LABELS, QUALITY, alpha=0.25, gamma=2.0)
    expected = _by_formula(
        lambda p, _: 0.25 * (1 - p) ** 2 * _entropy(p, 1.0),
        lambda p: 0.75 * p**2 * _entropy(p, 0.0),
    )
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("loss", [varifocal_losses, matchability_losses, focal_losses])
def test_losses_of_large_logits_are_finite_and_weights_get_no_gradient(loss):
    logits = torch.tensor([[200.0, -200.0, 0.0]], requires_grad=True)
    values = loss(logits, torch.tensor([1]), torch.tensor([0.5]))
    values.sum().backward()
    assert values.isfinite().all()
    assert logits.grad.isfinite().all()
    assert loss(torch.zeros(0, K), torch.zeros(0, dtype=torch.long), torch.zeros(0)).shape == (0, K)


def test_class_costs_are_what_the_focal_loss_changes_by():
    logits = LOGITS[0]
    labels = torch.tensor([2, 0])
    found = focal_class_costs(logits, labels).numpy()
    p = 1 / (1 + np.exp(-logits.numpy()))
    for q, t in np.ndindex(4, 2):
        one = p[q, labels[t]]
        expected = -0.25 * (1 - one) ** 2 * np.log(one) + 0.75 * one**2 * np.log(1 - one)
        assert found[q, t] == pytest.approx(expected, abs=1e-6)
    assert focal_class_costs(logits, labels[:0]).shape == (4, 0)


def test_box_costs_are_distance_and_minus_generalised_iou():
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.1, 0.1, 0.2, 0.2]])
    distance, overlap = pairwise_box_costs(boxes, boxes[:1])
    torch.testing.assert_close(distance, torch.tensor([[0.0], [0.8]]))
    # The hull of both has sides of 0.6, of which the two cover 0.08.
    expected = torch.tensor([[-1.0], [(0.36 - 0.08) / 0.36]])
    torch.testing.assert_close(overlap, expected)
    assert pairwise_box_costs(boxes, boxes[:0])[0].shape == (2, 0)


def test_cross_entropy_weighs_queries_without_an_object_less():
    """With 3 classes, of which the last is that of no object."""
    p = np.exp(LOGITS.numpy())
    p /= p.sum(axis=-1, keepdims=True)
    labels = LABELS.clamp(max=K - 1)
    found = softmax_losses(LOGITS, labels, QUALITY, 0.1)
    assert found.shape == (2, 4, 1)
    for n, q in np.ndindex(2, 4):
        weight = 0.1 if labels[n, q] == K - 1 else 1.0
        assert found[n, q, 0].item() == pytest.approx(-weight * np.log(p[n, q, labels[n, q]]))
    costs = softmax_class_costs(LOGITS[0], torch.tensor([1, 0]))
    np.testing.assert_allclose(costs.numpy(), -p[0][:, [1, 0]])
