"""NMS of upright and rotated boxes, apart for each group."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2lite.layers import (
    batched_nms,
    batched_nms_rotated,
    nms,
    nms_rotated,
    pairwise_iou_rotated,
)
from d2lite.layers.rotated_boxes import can_touch, iou_of_pairs


def some_boxes(count: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    low = rng.uniform(-50, 100, (count, 2))
    return torch.from_numpy(np.concatenate([low, low + rng.uniform(5, 60, (count, 2))], 1)).float()


def greedy(boxes: np.ndarray, scores: np.ndarray, groups: np.ndarray, limit: float) -> list[int]:
    """NMS word by word."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        a = boxes[i]
        for j in kept:
            b = boxes[j]
            inter = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
            union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inter
            if groups[i] == groups[j] and inter / union > limit:
                break
        else:
            kept.append(int(i))
    return kept


@pytest.mark.parametrize("most_shifted", [0, 10_000])
def test_batched_nms_is_greedy_within_groups_on_both_ways(most_shifted, monkeypatch):
    monkeypatch.setitem(batched_nms.__globals__, "_MOST_SHIFTED_ON_CPU", most_shifted)
    rng = np.random.default_rng(1)
    boxes, scores = some_boxes(120), rng.permutation(120) / 120.0
    groups = rng.choice([0, 3, 90], 120)
    found = batched_nms(boxes, torch.from_numpy(scores), torch.from_numpy(groups), 0.4)
    assert found.tolist() == greedy(boxes.double().numpy(), scores, groups, 0.4)


def test_class_numbers_in_the_thousands_move_no_iou():
    """A shift in float32 would round boxes by an eighth of a pixel there."""
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 4.98], [1300, 1300, 1333.3, 1333.3]])
    scores, groups = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([5000, 5000, 1])
    assert batched_nms(boxes, scores, groups, 0.4975).tolist() == [0, 2]
    assert batched_nms(boxes, scores, groups, 0.4985).tolist() == [0, 1, 2]


def test_nms_of_no_boxes_gives_no_indices():
    empty = torch.zeros(0)
    for found in (
        batched_nms(torch.zeros(0, 4), empty, empty.long(), 0.5),
        batched_nms_rotated(torch.zeros(0, 5), empty, empty.long(), 0.5),
        nms(torch.zeros(0, 4), empty, 0.5),
    ):
        assert found.shape == (0,)
        assert found.dtype == torch.int64


def test_half_precision_boxes_are_compared_in_float32():
    boxes, scores = some_boxes(60).half(), torch.arange(60).half()
    groups = torch.zeros(60, dtype=torch.int64)
    expected = batched_nms(boxes.float(), scores.float(), groups, 0.5)
    assert batched_nms(boxes, scores, groups, 0.5).equal(expected)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"batched_nms have shape \[2, 5\]; give \(N, 4\)"):
        batched_nms(torch.zeros(2, 5), torch.zeros(2), torch.zeros(2), 0.5)
    with pytest.raises(ValueError, match=r"rotated NMS have shape \[2, 4\]; give \(N, 5\)"):
        nms_rotated(torch.zeros(2, 4), torch.zeros(2), 0.5)
    with pytest.raises(ValueError, match=r"have shape \[2, 4\]; give \(N, 5\)"):
        pairwise_iou_rotated(torch.zeros(2, 4), torch.zeros(2, 5))


def upright(boxes: torch.Tensor) -> torch.Tensor:
    """The same boxes, written as rotated ones."""
    size = boxes[:, 2:] - boxes[:, :2]
    return torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, size, torch.zeros(len(boxes), 1)], 1)


def test_rotated_nms_of_upright_boxes_is_nms():
    boxes, scores = some_boxes(80), torch.from_numpy(np.random.default_rng(2).permutation(80))
    groups = torch.arange(80) % 3
    assert nms_rotated(upright(boxes), scores, 0.3).equal(nms(boxes, scores.float(), 0.3))
    found = batched_nms_rotated(upright(boxes), scores, groups, 0.3)
    assert found.equal(batched_nms(boxes, scores, groups, 0.3))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 90.0, 180.0, 360.0, 30.0, 1e-4]))
def test_rotated_iou_is_symmetric_bounded_and_one_with_itself(seed, angle):
    rng = np.random.default_rng(seed)
    boxes = np.concatenate([rng.uniform(0, 30, (6, 2)), rng.uniform(1, 30, (6, 2))], 1)
    turned = np.concatenate([boxes, np.full((6, 1), angle)], 1)
    turned = torch.from_numpy(np.concatenate([turned, turned[:2] + np.array([0, 0, 0, 0, 25.0])]))
    iou = pairwise_iou_rotated(turned, turned)
    torch.testing.assert_close(iou, iou.T, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(iou.diag(), torch.ones(8), rtol=1e-6, atol=1e-6)
    assert iou.min() >= 0
    assert iou.max() <= 1


def test_rotated_iou_of_known_shapes():
    square = torch.tensor([[0.0, 0, 2, 2, 0]])
    # A square turned by 45 degrees over itself leaves a regular octagon.
    octagon = 8 * (math.sqrt(2) - 1)
    others = torch.tensor([[0.0, 0, 2, 2, 45], [0, 0, 2, 2, 90], [9, 9, 2, 2, 10], [0, 0, 0, 2, 0]])
    expected = torch.tensor([[octagon / (8 - octagon), 1.0, 0.0, 0.0]])
    torch.testing.assert_close(pairwise_iou_rotated(square, others), expected)


def test_positive_angles_turn_counter_clockwise_on_the_screen():
    """A bar turned by 45 degrees reaches up (small y) at its right end."""
    bar = torch.tensor([[0.0, 0, 20, 1, 45]])
    at_upper_right = torch.tensor([[5.0, -5, 2, 2, 0], [5, 5, 2, 2, 0]])
    iou = pairwise_iou_rotated(bar, at_upper_right)[0]
    assert iou[0] > 0
    assert iou[1] == 0


def test_rotated_iou_of_nothing_has_its_shape():
    assert pairwise_iou_rotated(torch.zeros(0, 5), torch.zeros(3, 5)).shape == (0, 3)
    assert pairwise_iou_rotated(torch.zeros(3, 5), torch.zeros(0, 5)).shape == (3, 0)


def test_far_boxes_are_skipped_without_a_change():
    """IoU is worked out only where two boxes can touch; a box in every corner shows the rest."""
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(40, 5, generator=generator) * torch.tensor([90.0, 90, 30, 30, 360])
    others = torch.rand(30, 5, generator=generator) * torch.tensor([90.0, 90, 60, 5, 360])
    row, column = (
        grid.flatten() for grid in torch.meshgrid(torch.arange(40), torch.arange(30), indexing="ij")
    )
    every_pair = iou_of_pairs(boxes[row], others[column]).reshape(40, 30)
    skipped = ~can_touch(boxes, others)
    assert 0 < skipped.sum() < skipped.numel()
    assert every_pair[skipped].max() < 1e-12
    torch.testing.assert_close(pairwise_iou_rotated(boxes, others), every_pair, rtol=0, atol=1e-12)
