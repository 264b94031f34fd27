"""Edges as distributions, against the formulas of the paper."""

import numpy as np
import pytest
import torch

from d2lite.modeling.transformer import (
    distillation_losses,
    edge_steps,
    edge_targets,
    fine_grained_losses,
    move_edges,
)

BINS, REACH, CURVATURE = 8, 0.5, 4.0
STEPS = edge_steps(BINS, REACH, CURVATURE)


def test_steps_are_the_weighting_function_of_the_paper():
    """Equation 4 with a = 0.5 and c = 1/4, times 1 / c."""
    a, c = REACH, 1 / CURVATURE
    expected = []
    for n in range(BINS + 1):
        if n == 0:
            value = -2 * a
        elif n < BINS / 2:
            value = c - c * (a / c + 1) ** ((BINS - 2 * n) / (BINS - 2))
        elif n < BINS:
            value = -c + c * (a / c + 1) ** ((2 * n - BINS) / (BINS - 2))
        else:
            value = 2 * a
        expected.append(value / c)
    np.testing.assert_allclose(STEPS.numpy(), expected, rtol=1e-6)
    assert (STEPS.diff() > 0).all()
    assert STEPS[BINS // 2] == 0


def test_equal_chances_leave_a_box_where_it_is():
    boxes = torch.tensor([[0.5, 0.4, 0.2, 0.1]])
    found = move_edges(boxes, torch.zeros(1, 4 * (BINS + 1)), STEPS, CURVATURE)
    torch.testing.assert_close(found, boxes)


def test_a_certain_edge_moves_by_its_step_in_shares_of_the_box():
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.4]])
    logits = torch.full((1, 4, BINS + 1), -1e3)
    # The left edge by the last step, the others by none.
    logits[0, 0, BINS] = 0
    logits[0, 1:, BINS // 2] = 0
    found = move_edges(boxes, logits.flatten(1), STEPS, CURVATURE)
    left = 0.5 - (0.5 + 2 * REACH) * 0.2
    expected = torch.tensor([[(left + 0.6) / 2, 0.5, 0.6 - left, 0.4]])
    torch.testing.assert_close(found, expected)


def test_targets_are_what_moves_a_box_onto_an_object():
    """Round trip: the expected step of a target, as a distribution over two steps."""
    torch.manual_seed(0)
    boxes = torch.rand(20, 4) * 0.3 + 0.35
    objects = boxes + (torch.rand(20, 4) - 0.5) * 0.02
    left, share = edge_targets(boxes, objects, STEPS, CURVATURE)
    chances = torch.zeros(20, 4, BINS + 1)
    chances.scatter_(2, left[..., None], 1 - share[..., None])
    chances.scatter_add_(2, left[..., None] + 1, share[..., None])
    found = move_edges(boxes, (chances + 1e-12).log().flatten(1), STEPS, CURVATURE)
    torch.testing.assert_close(found, objects, atol=1e-5, rtol=0)


def test_objects_beyond_the_steps_get_the_last_one():
    boxes = torch.tensor([[0.5, 0.5, 0.01, 0.01]])
    left, share = edge_targets(boxes, torch.tensor([[0.5, 0.5, 1.0, 1.0]]), STEPS, CURVATURE)
    assert left.tolist() == [[BINS - 1] * 4]
    assert share.tolist() == [[1.0] * 4]
    left, share = edge_targets(boxes, torch.tensor([[0.9, 0.9, 0.01, 0.01]]), STEPS, CURVATURE)
    assert left.tolist() == [[0, 0, BINS - 1, BINS - 1]]
    assert share.tolist() == [[0.0, 0.0, 1.0, 1.0]]


def test_fine_grained_loss_is_the_cross_entropy_with_two_steps():
    torch.manual_seed(0)
    logits = torch.randn(3, 4 * (BINS + 1), dtype=torch.float64)
    left = torch.randint(0, BINS, (3, 4))
    share = torch.rand(3, 4, dtype=torch.float64)
    found = fine_grained_losses(logits, left, share).numpy()
    for m, e in np.ndindex(3, 4):
        row = logits.view(3, 4, -1)[m, e].numpy()
        chances = np.exp(row) / np.exp(row).sum()
        n, s = left[m, e], share[m, e].item()
        expected = -(1 - s) * np.log(chances[n]) - s * np.log(chances[n + 1])
        assert found[m, e] == pytest.approx(expected, abs=1e-10)
    assert fine_grained_losses(logits[:0], left[:0], share[:0]).shape == (0, 4)


def test_distillation_is_the_divergence_at_temperature_5():
    torch.manual_seed(0)
    own = torch.randn(2, 4 * (BINS + 1), dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(2, 4 * (BINS + 1), dtype=torch.float64, requires_grad=True)
    found = distillation_losses(own, teacher)
    p, q = (np.exp(x.detach().view(2, 4, -1).numpy() / 5) for x in (teacher, own))
    p, q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
    expected = 25 * (p * np.log(p / q)).sum(-1)
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-10)
    found.sum().backward()
    assert teacher.grad is None
    assert distillation_losses(own, own).abs().max() < 1e-12
