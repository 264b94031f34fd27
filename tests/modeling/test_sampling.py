"""subsample_labels: how many, which, and that the draw can be repeated."""

import pytest
import torch

from d2lite.modeling.sampling import overlap_bins, subsample_labels

LABELS = torch.tensor([2, -1, 5, 5, 2, 0, 5, -1, 5, 5, 1])  # 5 is background


@pytest.mark.parametrize(
    ("num_samples", "fraction", "positives", "negatives"),
    [
        (4, 0.5, 2, 2),
        (4, 0.25, 1, 3),
        (100, 0.5, 4, 5),
        (8, 1.0, 4, 4),
        (3, 0.0, 0, 3),
        (0, 1, 0, 0),
    ],
)
def test_positives_get_their_share_and_negatives_fill_up(
    num_samples, fraction, positives, negatives
):
    pos, neg = subsample_labels(LABELS, num_samples, fraction, bg_label=5)
    assert (len(pos.unique()), len(neg.unique())) == (positives, negatives)
    assert len(pos) == positives
    assert len(neg) == negatives
    assert set(pos.tolist()) <= {0, 4, 5, 10}
    assert set(neg.tolist()) <= {2, 3, 6, 8, 9}


@pytest.mark.parametrize("labels", [[], [-1, -1], [5, 5], [1, 1]])
def test_missing_kinds_give_empty_results(labels):
    pos, neg = subsample_labels(torch.tensor(labels, dtype=torch.int64), 4, 0.5, 5)
    assert pos.dtype == neg.dtype == torch.int64
    assert len(pos) == labels.count(1)
    assert len(neg) == labels.count(5)


def test_the_same_generator_state_gives_the_same_draw_and_leaves_torch_alone():
    labels = torch.zeros(1000, dtype=torch.int8)
    before = torch.get_rng_state()
    first = subsample_labels(labels, 10, 0.5, 0, generator=torch.Generator().manual_seed(3))[1]
    again = subsample_labels(labels, 10, 0.5, 0, generator=torch.Generator().manual_seed(3))[1]
    other = subsample_labels(labels, 10, 0.5, 0, generator=torch.Generator().manual_seed(4))[1]
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()
    assert torch.equal(before, torch.get_rng_state())


def test_every_candidate_is_drawn_about_equally_often():
    labels = torch.zeros(10, dtype=torch.int8)
    draws = [subsample_labels(labels, 5, 0.5, 0)[1] for _ in range(400)]
    share = torch.bincount(torch.cat(draws), minlength=10) / 400
    # Deviation of a share is 0.025; five of them.
    assert (share - 0.5).abs().max() < 0.125


def test_groups_are_drawn_evenly_as_far_as_they_go():
    """Three objects of 50, 10 and 2 proposals: 7 of 20 each, and the small one's lack is filled."""
    labels = torch.ones(62, dtype=torch.int8)
    groups = torch.tensor([5] * 50 + [0] * 10 + [2] * 2)
    drawn = groups[subsample_labels(labels, 20, 1.0, 0, groups=groups)[0]].bincount(minlength=6)
    assert drawn[2] == 2
    assert drawn[5] >= 7
    assert drawn[0] >= 7
    assert drawn.sum() == 20


def test_groups_of_positives_and_negatives_are_kept_apart():
    labels = torch.tensor([1] * 10 + [0] * 30)
    groups = torch.tensor([0] * 5 + [1] * 5 + [0] * 29 + [1])
    pos, neg = subsample_labels(labels, 8, 0.5, 0, groups=groups)
    assert groups[pos].bincount().tolist() == [2, 2]
    assert groups[neg].bincount().tolist() == [3, 1]


def test_draws_within_groups_are_random_and_repeatable():
    labels, groups = torch.zeros(100, dtype=torch.int8), torch.arange(100) % 3

    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        return subsample_labels(labels, 9, 0.5, 0, generator=generator, groups=groups)[1].tolist()

    assert draw(1) == draw(1) != draw(2)


def test_the_highest_priority_is_drawn_first():
    labels = torch.tensor([1, 1, 1, 0, 0, 0, -1])
    priority = torch.tensor([0.1, 0.5, 0.3, 0.2, 0.9, 0.4, 5.0])
    pos, neg = subsample_labels(labels, 4, 0.5, 0, priority=priority)
    assert pos.tolist() == [1, 2]
    assert neg.tolist() == [4, 5]


def test_overlaps_are_divided_into_bins_of_equal_width():
    overlaps = torch.tensor([0.0, 0.09, 0.11, 0.19, 0.21, 0.3])
    assert overlap_bins(overlaps).tolist() == [0, 0, 1, 1, 2, 2]
    assert overlap_bins(torch.zeros(3)).tolist() == [0, 0, 0]
    assert overlap_bins(torch.zeros(0)).dtype == torch.int64
