"""Gradient harmonizing: examples whose gradients are like those of many others weigh less."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["HarmonizedBoxLoss", "HarmonizedClassLoss"]


class _Harmony(nn.Module):
    """Weights of examples by how many have a gradient of about the same size.

    Args:
        num_bins: into how many parts the sizes from 0 to 1 are divided.
        momentum: share of the old value in the running number of examples of a part.
    """

    counts: Tensor

    def __init__(self, num_bins: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("counts", torch.zeros(num_bins))

    @torch.no_grad()
    def weights(self, sizes: Tensor, valid: Tensor) -> Tensor:
        """Weigh examples.

        Args:
            sizes: any shape, >= 0, of their gradients; more than 1 counts as 1.
            valid: bool of the same shape, the examples that there are.

        Returns:
            the same shape; their sum is 1, and every part of the sizes that has examples weighs
            the same, up to the running numbers.
        """
        # NaN becomes some number below 0; the loss is NaN in any case, and is reported as that.
        place = (sizes * len(self.counts)).long().clamp(min=0, max=len(self.counts) - 1)
        found = torch.zeros_like(self.counts).scatter_add_(
            0, place.flatten(), valid.flatten().to(self.counts.dtype)
        )
        is_met = found > 0
        self.counts = torch.where(is_met, found.lerp(self.counts, self.momentum), self.counts)
        share = 1 / (self.counts * is_met.sum())
        return torch.where(valid, share[place], 0.0)


class HarmonizedClassLoss(_Harmony):
    """Binary cross-entropy of the weights above (GHM-C).

    Source: Li 2018, arXiv:1811.05181, section 3.2.
    """

    def __init__(self, num_bins: int = 30, momentum: float = 0.75) -> None:
        super().__init__(num_bins, momentum)

    def forward(self, logits: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
        """Compare logits of any shape with targets in [0, 1], where `valid`; a scalar."""
        weights = self.weights((logits.sigmoid() - targets).abs(), valid)
        return F.binary_cross_entropy_with_logits(logits, targets, weights, reduction="sum")


class HarmonizedBoxLoss(_Harmony):
    """A smooth L1 of the weights above (GHM-R).

    Args:
        mu: where the loss turns from square to linear.

    Source: Li 2018, arXiv:1811.05181, section 3.4.
    """

    def __init__(self, mu: float = 0.02, num_bins: int = 10, momentum: float = 0.7) -> None:
        super().__init__(num_bins, momentum)
        self.mu = mu

    def forward(self, deltas: Tensor, targets: Tensor) -> Tensor:
        """Compare deltas of any shape with their targets; a scalar."""
        difference = deltas - targets
        size = (difference**2 + self.mu**2).sqrt()
        weights = self.weights((difference / size).abs(), torch.ones_like(size, dtype=torch.bool))
        return ((size - self.mu) * weights).sum()
