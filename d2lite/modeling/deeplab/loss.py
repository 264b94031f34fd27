"""Losses over pixels: cross entropy, and the same of the hardest pixels alone.

N images, K classes, H x W pixels.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.utils.errors import ConfigError
from d2lite.utils.process_means import mean_weight


class DeepLabCE(nn.Module):
    """Cross entropy, averaged over the pixels of the greatest loss.

    Pixels without a label have the loss 0 and count in the number of pixels.

    Args:
        ignore_label: the label of pixels without one.
        top_k_percent_pixels: share of the batch's pixels that the mean is taken of, in (0, 1].
        weight: factor of each class, or None.

    Source: Yang 2019 (DeeperLab), arXiv:1902.05093, section 4.2.
    """

    weight: Tensor | None

    def __init__(
        self,
        ignore_label: int = -1,
        top_k_percent_pixels: float = 1.0,
        weight: Tensor | None = None,
    ) -> None:
        super().__init__()
        if not 0 < top_k_percent_pixels <= 1:
            raise ConfigError(
                f"The share of hard pixels is {top_k_percent_pixels}; it must be above 0 and at "
                "most 1 (LOSS_TOP_K)."
            )
        self.ignore_label = ignore_label
        self.top_k_percent_pixels = top_k_percent_pixels
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            logits: (N, K, H, W) float.
            labels: (N, H, W) int64.
            weights: (N, H, W) factor of each pixel, or None.

        Returns:
            scalar.
        """
        losses = _of_pixels(logits, labels, self.ignore_label, weights, self.weight).flatten()
        if self.top_k_percent_pixels < 1:
            losses = losses.topk(int(self.top_k_percent_pixels * losses.numel())).values
        return losses.mean()


class LabelledMean(nn.Module):
    """Cross entropy, averaged over the pixels with a label; 0 where no pixel has one.

    Args:
        ignore_label: the label of pixels without one.
    """

    def __init__(self, ignore_label: int) -> None:
        super().__init__()
        self.ignore_label = ignore_label

    def forward(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """As `DeepLabCE.forward`."""
        total = _of_pixels(logits, labels, self.ignore_label, weights, None).sum()
        count = (labels != self.ignore_label).sum()
        return total / count.clamp(min=1) * mean_weight(count, total)


def _of_pixels(
    logits: Tensor,
    labels: Tensor,
    ignore_label: int,
    weights: Tensor | None,
    class_weight: Tensor | None,
) -> Tensor:
    # In float32: a sum over a million pixels overflows half precision.
    losses = F.cross_entropy(
        logits.float(), labels, class_weight, ignore_index=ignore_label, reduction="none"
    )
    return losses if weights is None else losses * weights


def build_pixel_loss(loss_type: str, ignore_label: int, top_k: float = 0.2) -> nn.Module:
    """Make the loss that `MODEL.SEM_SEG_HEAD.LOSS_TYPE` names.

    Args:
        loss_type: "cross_entropy" or "hard_pixel_mining".
        ignore_label: the label of pixels without one.
        top_k: share of hard pixels.

    Raises:
        ConfigError: for another type.
    """
    if loss_type == "cross_entropy":
        return LabelledMean(ignore_label)
    if loss_type == "hard_pixel_mining":
        return DeepLabCE(ignore_label=ignore_label, top_k_percent_pixels=top_k)
    raise ConfigError(
        f"MODEL.SEM_SEG_HEAD.LOSS_TYPE is {loss_type!r}; use cross_entropy or hard_pixel_mining."
    )
