"""Which anchors learn which object, against the definition in loops."""

import numpy as np
import pytest
import torch

from d2lite.projects.ssd import hard_negatives, match_anchors


@pytest.mark.parametrize("seed", range(10))
def test_each_anchor_learns_its_best_object_and_each_object_has_an_anchor(seed):
    ious = np.random.RandomState(seed).rand(4, 12).astype(np.float32)
    expected = [int(np.argmax(column)) if column.max() >= 0.8 else -1 for column in ious.T]
    for number, row in enumerate(ious):
        expected[int(np.argmax(row))] = number
    assert match_anchors(torch.from_numpy(ious), 0.8).tolist() == expected


def test_an_object_that_no_anchor_meets_is_learnt_all_the_same():
    assert (match_anchors(torch.zeros(1, 5), 0.5) >= 0).sum() == 1


def test_without_objects_all_is_background():
    assert match_anchors(torch.zeros(0, 3), 0.5).tolist() == [-1] * 3


def test_the_worst_backgrounds_count_three_for_each_object():
    losses = torch.tensor([[9.0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6]])
    is_object = torch.tensor([[True] + [False] * 5, [False] * 6])
    assert hard_negatives(losses, is_object, 3).tolist() == [
        [False, False, False, True, True, True],
        [False] * 6,
    ]


def test_more_negatives_than_backgrounds_are_all():
    is_object = torch.tensor([[True, True, False]])
    assert hard_negatives(torch.rand(1, 3), is_object, 3).tolist() == [[False, False, True]]
