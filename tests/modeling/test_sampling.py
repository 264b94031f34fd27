"""subsample_labels: how many, which, and that the draw can be repeated."""

import pytest
import torch

from d2lite.modeling.sampling import subsample_labels

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
