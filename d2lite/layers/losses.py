"""Losses of boxes: pure functions of tensors, zero (not NaN) on empty input."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss

from ..utils.errors import ArgumentError
from .rotated_boxes import iou_of_pairs

__all__ = [
    "balanced_l1_loss",
    "bounded_iou_loss",
    "ciou_loss",
    "diou_loss",
    "eiou_loss",
    "giou_loss",
    "iou_loss",
    "rotated_iou_loss",
    "smooth_l1_loss",
]


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """Losses as they are ("none"), or their "sum" or "mean"; the mean of none is 0."""
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
    return reduced(-iou.clamp(min=eps).log(), reduction)


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
    return reduced(1 - giou, reduction)


def _area(sides: Tensor) -> Tensor:
    """(N, 2) -> (N,) products; the gradient of `prod` would divide."""
    width, height = sides.unbind(dim=1)
    return width * height


def diou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """1 - IoU + squared distance of centres over that of the hull's corners.

    Arguments as of `giou_loss`.

    Source: Zheng 2020, arXiv:1911.08287.
    """
    return reduced(distance_box_iou_loss(boxes1, boxes2, eps=eps), reduction)


def ciou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """The DIoU loss plus a term for the difference in aspect ratio.

    Arguments as of `giou_loss`.

    Source: Zheng 2020, arXiv:1911.08287.
    """
    return reduced(complete_box_iou_loss(boxes1, boxes2, eps=eps), reduction)


def eiou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """The DIoU loss plus squared differences of width and height over those of the hull.

    Arguments as of `giou_loss`.

    Source: Zhang 2021, arXiv:2101.08158.
    """
    hull = torch.maximum(boxes1[:, 2:], boxes2[:, 2:]) - torch.minimum(boxes1[:, :2], boxes2[:, :2])
    sizes = [boxes[:, 2:] - boxes[:, :2] for boxes in (boxes1, boxes2)]
    shape = ((sizes[0] - sizes[1]) ** 2 / (hull**2 + eps)).sum(dim=1)
    return reduced(distance_box_iou_loss(boxes1, boxes2, eps=eps) + shape, reduction)


def rotated_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none") -> Tensor:
    """1 - IoU of matched rotated boxes; without a gradient where two boxes share nothing.

    Args:
        boxes1: (N, 5) centre, size in pixels, angle in degrees.
        boxes2: (N, 5) likewise, matched by row.
        reduction: "none" (N losses), "mean" or "sum".

    Source: Zhou 2019, arXiv:1908.03851.
    """
    return reduced(1 - iou_of_pairs(boxes1, boxes2), reduction)


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
    return reduced(smooth_l1_loss(missing, torch.zeros_like(missing), beta).sum(dim=1), reduction)


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
    return reduced(torch.where(distance < beta, low, high), reduction)


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
        return reduced(F.l1_loss(input, target, reduction="none"), reduction)
    return reduced(F.smooth_l1_loss(input, target, reduction="none", beta=beta), reduction)
