"""The two losses of SOLOv2: dice on the masks of positive cells, focal on all categories.

P positive cells, N objects, H x W pixels of the mask features.
"""

import torch
from torch import Tensor

from d2lite.layers import sigmoid_focal_loss

# Avoids 0 / 0 where a mask and its prediction are both empty.
_SMOOTH = 0.001


def dice_loss(logits: Tensor, masks: Tensor, instances: Tensor) -> Tensor:
    """One minus the soft dice coefficient of each prediction and the mask it should be.

    Several cells learn each object. Its mask is kept once, and overlaps come from one product of
    all predictions with all masks, which makes no further map for a prediction.

    Args:
        logits: (P, H, W) float.
        masks: (N, H, W) bool.
        instances: (P,) int64 in [0, N), the mask of each prediction.

    Returns:
        (P,) float32 in [0, 1].
    Source: SOLO, arXiv:1912.04488, section 3.2.
    """
    with torch.autocast(logits.device.type, enabled=False):
        pred = logits.flatten(1).float().sigmoid()
        truth = masks.flatten(1).float()
        overlap = (pred @ truth.T).gather(1, instances[:, None])[:, 0]
        size = torch.linalg.vector_norm(pred, dim=1).square() + truth.sum(dim=1)[instances]
        return 1 - 2 * overlap / (size + 2 * _SMOOTH)


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
