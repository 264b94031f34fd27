import sys

import numpy as np
import pytest
import torch

from d2lite.layers import batched_nms, fast_nms

from .test_nms import some_boxes


@pytest.mark.parametrize("block", [256, 7])
@pytest.mark.parametrize("num_groups", [1, 3])
def test_boxes_are_dropped_for_any_better_one_of_their_group(monkeypatch, block, num_groups):
    monkeypatch.setattr(sys.modules["d2lite.layers.fast_nms"], "_BLOCK", block)
    boxes, rng = some_boxes(60), np.random.default_rng(0)
    # Of equal scores the earlier box is the better.
    scores = torch.from_numpy(rng.integers(0, 20, 60) / 20)
    groups = torch.from_numpy(rng.integers(0, num_groups, 60))
    sides = boxes[:, None, 2:].minimum(boxes[:, 2:]) - boxes[:, None, :2].maximum(boxes[:, :2])
    inter, area = sides.clamp(min=0).prod(dim=2), (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    overlaps = inter / (area[:, None] + area - inter)
    order = sorted(range(60), key=lambda i: (-scores[i], i))
    expected = [
        i
        for place, i in enumerate(order)
        if not any(groups[i] == groups[j] and overlaps[i, j] > 0.3 for j in order[:place])
    ]
    kept = fast_nms(boxes, scores, groups, 0.3)
    assert kept.tolist() == expected
    assert fast_nms(boxes, scores, groups, 0.3, most=5).tolist() == expected[:5]
    assert set(expected) < set(batched_nms(boxes, scores, groups, 0.3).tolist())


def test_nothing_and_boxes_without_area_are_like_others():
    empty = torch.zeros(0)
    assert fast_nms(torch.zeros(0, 4), empty, empty.long(), 0.5, 100).shape == (0,)
    boxes = torch.tensor([[3.0, 3, 3, 3], [3, 3, 3, 3], [0, 0, 9, 9]])
    scores, groups = torch.tensor([0.9, 0.8, 0.7]), torch.zeros(3, dtype=torch.int64)
    assert fast_nms(boxes, scores, groups, 0.5).tolist() == [0, 1, 2]
