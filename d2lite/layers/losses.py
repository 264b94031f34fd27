"""Losses of boxes and of scores: pure functions of tensors, zero (not NaN) on empty input."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import (
    complete_box_iou_loss,
    distance_box_iou_loss,
)

from ..utils.errors import ArgumentError
from .rotated_boxes import iou_of_pairs

__all__ = [
    "balanced_l1_loss",
    "bounded_iou_loss",
    "ciou_loss",
    "diou_loss",
    "distribution_focal_loss",
    "eiou_loss",
    "giou_loss",
    "heatmap_focal_loss",
    "iou_loss",
    "quality_focal_loss",
    "rotated_iou_loss",
    "sigmoid_focal_loss",
    "smooth_l1_loss",
    "varifocal_loss",
]


def _reduced(loss: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    if reduction == "mean":
        return loss.mean() if loss.numel() else loss.sum() * 0.0
    raise ArgumentError(f"Unknown reduction {reduction!r}; use 'none', 'mean' or 'sum'.")


def iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-6) -> Tensor:
    """The negative logarithm of the IoU of matched boxes.

    Args:
        boxes1: (N, 4) xyxy in pixels.
        boxes2: (N, 4) likewise, matched by row.
        reduction: "none" (N losses), "mean" or "sum".
        eps: an IoU counts as at least this.

    Source: Yu 2016 (UnitBox), arXiv:1608.01471.
    """
    low = torch.maximum(boxes1[:, :2], boxes2[:, :2])
    high = torch.minimum(boxes1[:, 2:], boxes2[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(dim=1) for boxes in (boxes1, boxes2)]
    iou = shared / (areas[0] + areas[1] - shared).clamp(min=eps)
    return _reduced(-iou.clamp(min=eps).log(), reduction)


def giou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """1 - generalised IoU of matched boxes, in [0, 2].

    Args:
        boxes1: (N, 4) xyxy in pixels.
        boxes2: (N, 4) likewise, matched by row.
        reduction: "none" (N losses), "mean" or "sum".
        eps: added to divisors, which may be zero.

    Source: Rezatofighi 2019, arXiv:1902.09630.
    """
    # Written out, since torchvision's waits five times for the device to index by a mask.
    low1, high1 = boxes1.split(2, dim=1)
    low2, high2 = boxes2.split(2, dim=1)
    sides = torch.minimum(high1, high2) - torch.maximum(low1, low2)
    shared = torch.where((sides > 0).all(dim=1), _area(sides), 0.0)
    union = _area(high1 - low1) + _area(high2 - low2) - shared
    # Split again: so the gradients of equal edges are added up in the same order as torchvision's.
    low1, high1 = boxes1.split(2, dim=1)
    low2, high2 = boxes2.split(2, dim=1)
    hull = _area(torch.maximum(high1, high2) - torch.minimum(low1, low2))
    giou = shared / (union + eps) - (hull - union) / (hull + eps)
    return _reduced(1 - giou, reduction)


def _area(sides: Tensor) -> Tensor:
    """(N, 2) -> (N,) products; the gradient of `prod` would divide."""
    width, height = sides.unbind(dim=1)
    return width * height


def diou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """1 - IoU + squared distance of centres over that of the hull's corners.

    Arguments as of `giou_loss`.

    Source: Zheng 2020, arXiv:1911.08287.
    """
    return _reduced(distance_box_iou_loss(boxes1, boxes2, eps=eps), reduction)


def ciou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """The DIoU loss plus a term for the difference in aspect ratio.

    Arguments as of `giou_loss`.

    Source: Zheng 2020, arXiv:1911.08287.
    """
    return _reduced(complete_box_iou_loss(boxes1, boxes2, eps=eps), reduction)


def eiou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """The DIoU loss plus squared differences of width and height over those of the hull.

    Arguments as of `giou_loss`.

    Source: Zhang 2021, arXiv:2101.08158.
    """
    hull = torch.maximum(boxes1[:, 2:], boxes2[:, 2:]) - torch.minimum(boxes1[:, :2], boxes2[:, :2])
    sizes = [boxes[:, 2:] - boxes[:, :2] for boxes in (boxes1, boxes2)]
    shape = ((sizes[0] - sizes[1]) ** 2 / (hull**2 + eps)).sum(dim=1)
    return _reduced(distance_box_iou_loss(boxes1, boxes2, eps=eps) + shape, reduction)


def rotated_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none") -> Tensor:
    """1 - IoU of matched rotated boxes; without a gradient where two boxes share nothing.

    Args:
        boxes1: (N, 5) centre, size in pixels, angle in degrees.
        boxes2: (N, 5) likewise, matched by row.
        reduction: "none" (N losses), "mean" or "sum".

    Source: Zhou 2019, arXiv:1908.03851.
    """
    return _reduced(1 - iou_of_pairs(boxes1, boxes2), reduction)


def bounded_iou_loss(
    boxes1: Tensor,
    boxes2: Tensor,
    reduction: str = "none",
    beta: float = 0.2,
    eps: float = 1e-3,
) -> Tensor:
    """Smooth L1 of 1 - the best IoU that each number of a box allows, summed over the four.

    Args:
        boxes1: (N, 4) xyxy in pixels, predicted.
        boxes2: (N, 4) likewise, the truth, matched by row.
        reduction: "none" (N losses), "mean" or "sum".
        beta: of smooth L1.
        eps: added to divisors, which may be zero.

    Source: Tychsen-Smith 2017, arXiv:1711.00164.
    """
    size, true_size = (boxes[:, 2:] - boxes[:, :2] for boxes in (boxes1, boxes2))
    # Twice the distance of the centres.
    shift = (boxes1[:, :2] + boxes1[:, 2:] - boxes2[:, :2] - boxes2[:, 2:]).abs()
    place = ((true_size - shift) / (true_size + shift + eps)).clamp(min=0)
    scale = torch.minimum(true_size / (size + eps), size / (true_size + eps))
    missing = 1 - torch.cat([place, scale], dim=1)
    return _reduced(smooth_l1_loss(missing, torch.zeros_like(missing), beta).sum(dim=1), reduction)


def balanced_l1_loss(
    input: Tensor,
    target: Tensor,
    beta: float = 1.0,
    reduction: str = "none",
    alpha: float = 0.5,
    gamma: float = 1.5,
) -> Tensor:
    """L1 from `beta` on; below it a logarithm, whose slope is larger than that of smooth L1.

    Args:
        input: any shape.
        target: of the same shape.
        beta: > 0, where the two pieces meet; 1 in the paper. For others the lower piece is that of
            MMDetection, with which its weights were trained: its slope at 0 is not 0.
        reduction: "none" (elementwise), "mean" or "sum".
        alpha: how much the slope below `beta` grows, > 0.
        gamma: the slope above `beta`.

    Raises:
        ArgumentError: for a beta of 0.

    Source: Pang 2019 (Libra R-CNN), arXiv:1904.02701, section 3.3.
    """
    if beta <= 0:
        raise ArgumentError(f"beta={beta} of balanced L1 (SMOOTH_L1_BETA): use more than 0, 1.0.")
    distance = (input - target).abs()
    # With this number both pieces have the same value and slope at 1.
    grow = math.exp(gamma / alpha) - 1
    low = alpha * ((distance + 1 / grow) * (grow * distance / beta + 1).log() - distance)
    high = gamma * (distance + 1 / grow) - alpha * beta
    return _reduced(torch.where(distance < beta, low, high), reduction)


def smooth_l1_loss(input: Tensor, target: Tensor, beta: float, reduction: str = "none") -> Tensor:
    """Quadratic below `beta`, linear above; plain L1 at beta 0.

    Args:
        input: any shape.
        target: of the same shape.
        beta: >= 0, where the two pieces meet.
        reduction: "none" (elementwise), "mean" or "sum".

    Source: Girshick 2015, arXiv:1504.08083, with the quadratic piece scaled by 1 / beta.
    """
    # A tiny beta counts as 0, as in the reference; the loss differs by less than beta / 2.
    if beta < 1e-5:
        return _reduced(F.l1_loss(input, target, reduction="none"), reduction)
    return _reduced(F.smooth_l1_loss(input, target, reduction="none", beta=beta), reduction)


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
    return _reduced(weight * entropy, reduction)


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
    return _reduced(entropy * (quality - logits.sigmoid()).abs() ** beta, reduction)


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
    return _reduced(weight * entropy, reduction)


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
    return _reduced((1 - share) * near + share * far, reduction)


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
    return _reduced(weight * entropy, reduction)
