"""Buckets of the sides of boxes, against loops and as a way there and back."""

import math

import numpy as np
import pytest
import torch

from d2lite.modeling.box_buckets import BucketTransform, bucket_confidence
from d2lite.utils.errors import ArgumentError

SRC = torch.tensor([[10.0, 20, 42, 52], [-8, 0, 8, 16], [100, 40, 164, 104]])
TRUE = torch.tensor([[0.3, 12.6, 30.1, 70.7], [-3.3, -2.1, 4.4, 9.2], [60.9, 50.2, 150.8, 99.6]])


def _middles(box, count, factor):
    """The middles of the buckets of left, right, top and bottom, and their sizes."""
    found, sizes = [], []
    for axis in (0, 1):
        centre, length = (box[axis] + box[axis + 2]) / 2, (box[axis + 2] - box[axis]) * factor
        low, high, size = centre - length / 2, centre + length / 2, length / count
        half = math.ceil(count / 2)
        found.append([low + (i + 0.5) * size for i in range(half)])
        found.append([high - (i + 0.5) * size for i in range(half)])
        sizes += [size, size]
    return found, sizes


@pytest.mark.parametrize(("count", "factor"), [(14, 3.0), (7, 1.7)])
def test_targets_are_those_of_loops(count, factor):
    targets = BucketTransform(count, factor).find_targets(SRC, TRUE)
    for row, (box, true) in enumerate(zip(SRC.tolist(), TRUE.tolist(), strict=True)):
        middles, sizes = _middles(box, count, factor)
        for side, place in enumerate((true[0], true[2], true[1], true[3])):
            offsets = [(middle - place) / sizes[side] for middle in middles[side]]
            order = sorted(range(len(offsets)), key=lambda i: abs(offsets[i]))
            near = {i for i in order if abs(offsets[i]) < 1}
            learnt = {order[0], *(near & {order[1]})}
            every = range(len(offsets))
            assert targets.offsets[row, side].tolist() == pytest.approx(offsets, abs=1e-5)
            assert targets.labels[row, side].tolist() == [i == order[0] for i in every]
            weights = [i == order[0] or i not in near for i in every]
            assert targets.label_weights[row, side].tolist() == weights
            assert targets.offset_weights[row, side].tolist() == [i in learnt for i in every]


@pytest.mark.parametrize(("count", "factor"), [(14, 3.0), (7, 1.7)])
def test_targets_give_their_boxes_again(count, factor):
    transform = BucketTransform(count, factor)
    targets = transform.find_targets(SRC, TRUE)
    deltas = torch.stack((targets.labels * 9, targets.offsets), dim=1).flatten(1)
    torch.testing.assert_close(transform.apply_deltas(deltas, SRC), TRUE)


def test_each_side_is_taken_from_its_best_bucket():
    rng = np.random.RandomState(0)
    logits, offsets = rng.randn(2, 3, 4, 7)
    deltas = torch.from_numpy(np.stack((logits, offsets), axis=1)).float().flatten(1)
    found = BucketTransform().apply_deltas(deltas, SRC)
    for row, box in enumerate(SRC.tolist()):
        middles, sizes = _middles(box, 14, 3.0)
        best = logits[row].argmax(axis=1)
        sides = [middles[s][b] - offsets[row, s, b] * sizes[s] for s, b in enumerate(best)]
        wanted = [sides[0], sides[2], sides[1], sides[3]]
        assert found[row].tolist() == pytest.approx(wanted, abs=1e-4)


def test_a_second_bucket_adds_to_the_confidence_where_it_is_beside_the_best():
    """Shares 0.6 and 0.3 of neighbours on two sides, of buckets apart on the others."""
    beside, apart = [0.6, 0.3, 0.06, 0.04], [0.6, 0.06, 0.3, 0.04]
    logits = torch.tensor([[beside, apart, beside, apart]]).log()
    assert bucket_confidence(logits).tolist() == pytest.approx([(0.9 + 0.6) / 2])


@pytest.mark.parametrize(("count", "factor"), [(2, 3.0), (14, 0.0)])
def test_too_few_buckets_or_no_size_are_refused(count, factor):
    with pytest.raises(ArgumentError, match="at least 3 buckets and a factor above 0"):
        BucketTransform(count, factor)
