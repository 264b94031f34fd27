"""The two losses of SOLOv2: dice on the masks of positive cells, focal on all categories.

P positive cells, H x W pixels of the mask features.
"""

from torch import Tensor

from d2lite.layers import sigmoid_focal_loss

__all__ = ["category_loss", "dice_loss"]

# Keeps 0 / 0 away where a mask and its prediction are both empty.
_SMOOTH = 0.001


def dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """One minus the soft dice coefficient, mask by mask.

    Args:
        logits: (P, H, W) float.
        targets: (P, H, W), 0 or 1.

    Returns:
        (P,) float32 in [0, 1].
    Source: SOLO, arXiv:1912.04488, section 3.2.
    """
    pred = logits.flatten(1).float().sigmoid()
    truth = targets.flatten(1).to(pred.dtype)
    overlap = (pred * truth).sum(dim=1)
    size = pred.square().sum(dim=1) + truth.square().sum(dim=1) + 2 * _SMOOTH
    return 1 - 2 * overlap / size


def category_loss(logits: Tensor, targets: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """Focal loss, summed over cells and categories.

    Args:
        logits: (R, C) float, R cells of all levels and images, C categories.
        targets: (R,) int64 in [0, C], C for background.
        alpha: weight of positives in [0, 1]; negatives get 1 - alpha.
        gamma: focusing exponent.

    Returns:
        scalar float32.
    Source: arXiv:1708.02002.
    """
    num_classes = logits.shape[1]
    one_hot = logits.new_zeros(len(targets), num_classes + 1, dtype=logits.float().dtype)
    one_hot.scatter_(1, targets[:, None], 1)
    return sigmoid_focal_loss(
        logits.float(), one_hot[:, :num_classes], alpha=alpha, gamma=gamma, reduction="sum"
    )
