"""Draw the few positives and negatives that a loss is computed on, and rank candidates."""

import torch
from torch import Tensor

__all__ = ["hierarchical_ranks", "overlap_bins", "subsample_labels"]

# Groups of negatives, as published.
_NUM_BINS = 3


def subsample_labels(
    labels: Tensor,
    num_samples: int,
    positive_fraction: float,
    bg_label: int,
    *,
    generator: torch.Generator | None = None,
    groups: Tensor | None = None,
    priority: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw positives up to their share, and fill up with negatives.

    Args:
        labels: (N,) integers: -1 ignored, `bg_label` negative, anything else positive.
        num_samples: how many to draw; fewer where there are not enough.
        positive_fraction: at most `int(num_samples * positive_fraction)` are positives.
        bg_label: the label of a negative.
        generator: draws from this one (on the device of `labels`) instead of torch's own.
        groups: (N,) integers >= 0; as far as possible, as many positives are drawn of each group
            as of another, and as many negatives.
        priority: (N,) float; the largest come first, equal ones in random order.

    Returns:
        the drawn positions: (P,) int64 of positives and (Q,) int64 of negatives, in random order
        or that of their priority.

    Source: by priority Shrivastava 2016 (OHEM), arXiv:1604.03540; by groups Pang 2019 (Libra
    R-CNN), arXiv:1904.02701.
    """
    is_negative = labels == bg_label
    drawn: list[Tensor] = []
    limit = int(num_samples * positive_fraction)
    for candidates in ((labels != -1) & ~is_negative, is_negative):
        positions = torch.nonzero(candidates).flatten()
        order = torch.randperm(len(positions), device=positions.device, generator=generator)
        positions = positions[order]
        if priority is not None:
            positions = positions[priority[positions].argsort(descending=True, stable=True)]
        count = min(len(positions), limit)
        if groups is not None and count:
            positions = positions[_by_turns(groups[positions], count)]
        drawn.append(positions[:count])
        limit = num_samples - count
    return drawn[0], drawn[1]


def overlap_bins(overlaps: Tensor) -> Tensor:
    """Groups of candidates by their overlap, for negatives that are drawn evenly over it.

    Args:
        overlaps: (N,) float >= 0, such as the largest IoU with an object.

    Returns:
        (N,) int64, the third of the range from 0 to the largest overlap: 0, 1 or 2.

    Source: Pang 2019 (Libra R-CNN), arXiv:1904.02701, section 3.1.
    """
    if len(overlaps) == 0:
        return overlaps.long()
    share = overlaps / overlaps.max().clamp(min=1e-6)
    return (share * _NUM_BINS).long().clamp(max=_NUM_BINS - 1)


def hierarchical_ranks(scores: Tensor, groups: Tensor, kinds: Tensor | None = None) -> Tensor:
    """Rank candidates: first the best of each group, by score, then the second ones, and so on.

    Args:
        scores: (N,) float.
        groups: (N,) integers, such as the object that each one belongs to.
        kinds: (N,) integers; each kind is ranked by itself, and a group has one kind.

    Returns:
        (N,) int64, 0 for the first of all, or of each kind.

    Source: Cao 2019 (PISA), arXiv:1904.04821, section 3.
    """
    order = scores.argsort(descending=True, stable=True)
    order = order[_places(groups[order]).argsort(stable=True)]
    ranks = torch.empty_like(order)
    ranks[order] = _places(torch.zeros_like(order) if kinds is None else kinds[order])
    return ranks


def _places(groups: Tensor) -> Tensor:
    """(N,) int64: how many members of its group come before each one."""
    _, group, sizes = groups.unique(return_inverse=True, return_counts=True)
    places = torch.empty_like(group)
    first = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    places[group.argsort(stable=True)] = torch.arange(len(groups), device=groups.device) - first
    return places


def _by_turns(groups: Tensor, count: int) -> Tensor:
    """An order of N members whose first `count` have an equal number of each group.

    Of a group that is too small all are first, and further ones of all groups fill up.
    """
    places = _places(groups)
    num_groups = (places == 0).sum()
    return (places >= -(-count // num_groups)).to(torch.uint8).argsort(stable=True)
