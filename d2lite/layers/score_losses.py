"""Losses of scores: pure functions of tensors, zero (not NaN) on empty input."""

import torch
from torch import Tensor
from torch.nn import functional as F

from .losses import reduced

__all__ = [
    "distribution_focal_loss",
    "heatmap_focal_loss",
    "quality_focal_loss",
    "sigmoid_focal_loss",
    "varifocal_loss",
]


def sigmoid_focal_loss(
    inputs: Tensor,
    targets: Tensor,
    alpha: float = -1,
    gamma: float = 2,
    reduction: str = "none",
) -> Tensor:
    """Binary cross entropy, weighted down where the prediction is already right.

    Args:
        inputs: logits of any shape.
        targets: float of the same shape, 0 or 1.
        alpha: weight of the positives in [0, 1] (negatives get 1 - alpha); < 0 for none.
        gamma: how strongly easy examples are weighted down, >= 0.
        reduction: "none" (elementwise), "mean" or "sum".

    Source: Lin 2017, arXiv:1708.02002.
    """
    # 1 - p of the true answer, from the logit of the wrong one: never 1 - 1, and never 0, where a
    # power below 1 has an infinite slope.
    missing = inputs.sigmoid() * (1 - targets) + (-inputs).sigmoid() * targets
    weight = missing.clamp(min=torch.finfo(missing.dtype).tiny) ** gamma
    if alpha >= 0:
        weight = weight * (alpha * targets + (1 - alpha) * (1 - targets))
    entropy = F.binary_cross_entropy_with_logits(inputs, targets, reduction="none")
    return reduced(weight * entropy, reduction)


def quality_focal_loss(
    logits: Tensor, quality: Tensor, beta: float = 2.0, reduction: str = "none"
) -> Tensor:
    """Binary cross-entropy with a quality as label, weighted down where the score is near it.

    Args:
        logits: of any shape.
        quality: float of the same shape in [0, 1]: of the box at the class of its object, such as
            its IoU; 0 elsewhere.
        beta: how strongly scores near their label are weighted down, >= 0.
        reduction: "none" (elementwise), "mean" or "sum".

    Source: Li 2020, arXiv:2006.04388, section 3.1.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    return reduced(entropy * (quality - logits.sigmoid()).abs() ** beta, reduction)


def varifocal_loss(
    logits: Tensor,
    quality: Tensor,
    alpha: float = 0.75,
    gamma: float = 2.0,
    reduction: str = "none",
) -> Tensor:
    """Binary cross-entropy with a quality as label, weighted by it; background as in focal loss.

    Args:
        logits: of any shape.
        quality: float of the same shape in [0, 1]: of the box at the class of its object, such as
            its IoU; 0 elsewhere.
        alpha: weight of the background.
        gamma: how strongly easy background is weighted down, >= 0.
        reduction: "none" (elementwise), "mean" or "sum".

    Source: Zhang 2020, arXiv:2008.13367, section 3.2.
    """
    weight = torch.where(quality > 0, quality, alpha * logits.sigmoid() ** gamma)
    entropy = F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    return reduced(weight * entropy, reduction)


def distribution_focal_loss(logits: Tensor, values: Tensor, reduction: str = "none") -> Tensor:
    """Cross-entropy with the two whole numbers around a value, weighted by how near they are.

    Args:
        logits: (N, B + 1) float, of a distribution over 0 ... B.
        values: (N,) float in [0, B).
        reduction: "none" (N losses), "mean" or "sum".

    Source: Li 2020, arXiv:2006.04388, section 3.1.
    """
    below = values.floor()
    share = values - below
    surprise = -logits.log_softmax(dim=1)
    pair = torch.stack([below, below + 1], dim=1).long()
    near, far = surprise.gather(1, pair).unbind(dim=1)
    return reduced((1 - share) * near + share * far, reduction)


def heatmap_focal_loss(
    logits: Tensor, heights: Tensor, alpha: float = 2.0, beta: float = 4.0, reduction: str = "none"
) -> Tensor:
    """Focal loss of cells that are a keypoint or not, milder for those near a keypoint.

    Args:
        logits: of any shape.
        heights: float of the same shape in [0, 1]: 1 at the cell of a keypoint, less around it.
        alpha: how strongly easy cells are weighted down, >= 0.
        beta: how strongly other cells are weighted down for their height, >= 0.
        reduction: "none" (elementwise), "mean" or "sum".

    Source: Law 2018 (CornerNet), arXiv:1808.01244, section 3.2.
    """
    is_peak = (heights == 1).to(logits.dtype)
    missing = torch.where(heights == 1, -logits, logits).sigmoid()
    weight = missing**alpha * torch.where(heights == 1, 1.0, (1 - heights) ** beta)
    entropy = F.binary_cross_entropy_with_logits(logits, is_peak, reduction="none")
    return reduced(weight * entropy, reduction)
