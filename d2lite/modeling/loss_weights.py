"""Factors on losses, by the names of the losses."""

from collections.abc import Mapping

from torch import Tensor


def weights_by_name(weight: float | Mapping[str, float], *names: str) -> dict[str, float]:
    """A factor for each loss.

    Args:
        weight: one factor for all, or those of some losses by name.
        names: the losses that a single factor is for.
    """
    return dict(weight) if isinstance(weight, Mapping) else dict.fromkeys(names, weight)


def weighted(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> dict[str, Tensor]:
    """Losses times their factors; a loss without a factor stays as it is."""
    return {name: loss * weights.get(name, 1.0) for name, loss in losses.items()}
