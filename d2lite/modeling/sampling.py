"""Draw the few positives and negatives that a loss is computed on."""

import torch
from torch import Tensor

__all__ = ["subsample_labels"]


def subsample_labels(
    labels: Tensor,
    num_samples: int,
    positive_fraction: float,
    bg_label: int,
    *,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw positives up to their share, and fill up with negatives.

    Args:
        labels: (N,) integers: -1 ignored, `bg_label` negative, anything else positive.
        num_samples: how many to draw; fewer where there are not enough.
        positive_fraction: at most `int(num_samples * positive_fraction)` are positives.
        bg_label: the label of a negative.
        generator: draws from this one (on the device of `labels`) instead of torch's own.

    Returns:
        the drawn positions: (P,) int64 of positives and (Q,) int64 of negatives, in random order.
    """
    is_negative = labels == bg_label
    positives = torch.nonzero((labels != -1) & ~is_negative).flatten()
    negatives = torch.nonzero(is_negative).flatten()
    num_positives = min(len(positives), int(num_samples * positive_fraction))
    num_negatives = min(len(negatives), num_samples - num_positives)
    return _draw(positives, num_positives, generator), _draw(negatives, num_negatives, generator)


def _draw(positions: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    order = torch.randperm(len(positions), device=positions.device, generator=generator)
    return positions[order[:count]]
