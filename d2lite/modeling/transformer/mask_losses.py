"""How far predicted masks are from true ones, at points: as losses of pairs, as costs of all pairs.

M pairs, Q predictions, T objects, P points.

Source: Cheng 2021 (MaskFormer), arXiv:2107.06278, section 3.2; Milletari 2016, arXiv:1606.04797,
for dice.
"""

from torch import Tensor
from torch.nn import functional as F


def mask_bce_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy, the mean over points.

    Args:
        logits: (M, P) float.
        labels: (M, P) float in [0, 1].

    Returns:
        (M,).
    """
    return F.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(dim=1)


def mask_dice_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """1 - (2 |A and B| + 1) / (|A| + |B| + 1), with probabilities as parts of points.

    Args:
        logits: (M, P) float.
        labels: (M, P) float in [0, 1].

    Returns:
        (M,), in [0, 1).
    """
    probabilities = logits.sigmoid()
    both = (probabilities * labels).sum(dim=1)
    return 1 - (2 * both + 1) / (probabilities.sum(dim=1) + labels.sum(dim=1) + 1)


def pairwise_bce_costs(logits: Tensor, labels: Tensor) -> Tensor:
    """`mask_bce_losses` of each prediction with each object.

    Args:
        logits: (Q, P) float.
        labels: (T, P) float.

    Returns:
        (Q, T).
    """
    # -log(1 - p) at every point, and -log(p) + log(1 - p) = -logit in place of it on the object.
    background = F.softplus(logits).mean(dim=1, keepdim=True)
    return background - logits @ labels.T / logits.shape[1]


def pairwise_dice_costs(logits: Tensor, labels: Tensor) -> Tensor:
    """`mask_dice_losses` of each prediction with each object.

    Args:
        logits: (Q, P) float.
        labels: (T, P) float.

    Returns:
        (Q, T).
    """
    probabilities = logits.sigmoid()
    both = probabilities @ labels.T
    total = probabilities.sum(dim=1, keepdim=True) + labels.sum(dim=1)
    return 1 - (2 * both + 1) / (total + 1)
