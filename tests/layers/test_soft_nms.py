"""Soft suppression against its definition, one box after the other."""

import math

import numpy as np
import pytest
import torch

from d2lite.layers import SoftNMS, batched_nms, soft_nms
from d2lite.utils.errors import ConfigError

from .test_nms import some_boxes


def iou_of_two(a, b):
    inter = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
    return inter / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inter)


def _by_definition(boxes, scores, groups, limit, options):
    left, found = {i: float(score) for i, score in enumerate(scores)}, []
    while left:
        best = max(left, key=left.get)
        found.append((best, left.pop(best)))
        for i in left:
            if groups[i] != groups[best]:
                continue
            iou = iou_of_two(boxes[best], boxes[i])
            if options.method == "gaussian":
                left[i] *= math.exp(-(iou**2) / options.sigma)
            elif iou > limit:
                left[i] *= 1 - iou
    return [(i, score) for i, score in found if score >= options.min_score]


@pytest.mark.parametrize("method", ["linear", "gaussian"])
@pytest.mark.parametrize("num_groups", [1, 3])
def test_scores_fall_by_the_overlap_with_better_boxes_of_the_group(method, num_groups):
    boxes, rng = some_boxes(60), np.random.default_rng(0)
    scores, groups = rng.uniform(size=60).astype("f4"), rng.integers(0, num_groups, 60)
    options = SoftNMS(method, sigma=0.4, min_score=0.05)
    expected = _by_definition(boxes.numpy(), scores, groups, 0.3, options)
    arguments = boxes, torch.from_numpy(scores), torch.from_numpy(groups), 0.3, options
    kept, values = soft_nms(*arguments)
    assert kept.tolist() == [i for i, _ in expected]
    assert values.tolist() == pytest.approx([score for _, score in expected], rel=1e-5)
    best, _ = soft_nms(*arguments, most=5)
    assert torch.equal(best, kept[:5])


def test_boxes_that_do_not_overlap_keep_their_scores():
    boxes = torch.tensor([[0.0, 0, 4, 4], [10, 0, 14, 4], [20, 0, 24, 4]])
    scores, groups = torch.tensor([0.2, 0.9, 0.5]), torch.zeros(3, dtype=torch.int64)
    kept, values = soft_nms(boxes, scores, groups, 0.5, SoftNMS("gaussian"))
    assert torch.equal(kept, batched_nms(boxes, scores, groups, 0.5))
    assert torch.equal(values, scores[kept])


@pytest.mark.parametrize("method", ["linear", "gaussian"])
def test_boxes_without_area_are_like_others(method):
    """Their IoU is 0 / 0; an untrained FCOS predicts such boxes."""
    boxes = torch.tensor([[3.0, 3, 3, 3], [3, 3, 3, 3], [0, 0, 9, 9]])
    scores, groups = torch.tensor([0.9, 0.8, 0.7]), torch.zeros(3, dtype=torch.int64)
    kept, values = soft_nms(boxes, scores, groups, 0.5, SoftNMS(method))
    assert kept.tolist() == [0, 1, 2]
    assert torch.equal(values, scores)


def test_nothing_gives_nothing():
    empty = torch.zeros(0)
    kept, values = soft_nms(torch.zeros(0, 4), empty, empty.long(), 0.5, SoftNMS("linear"), 100)
    assert kept.shape == values.shape == (0,)


def test_options_are_checked():
    assert SoftNMS.from_options("", 0.5, 0.1) is None
    with pytest.raises(ConfigError, match='use "linear", "gaussian"'):
        SoftNMS.from_options("soft", 0.5, 0.1)
    with pytest.raises(ConfigError, match="more than 0"):
        SoftNMS.from_options("gaussian", 0.0, 0.1)
