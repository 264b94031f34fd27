"""Non-maximum suppression, over all boxes, or separately in each group of them."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._jit_internal import is_scripting
from torchvision.ops.boxes import nms

from ..utils.errors import ArgumentError
from .rotated_boxes import can_touch, iou_of_pairs

__all__ = ["batched_nms", "batched_nms_rotated", "nms", "nms_rotated"]

# Above this number, comparing boxes of different groups costs more than a call per group. One CPU
# core, one call and a call per group: 1,000 boxes in 5 groups 2.3 and 1.7 ms, 8,000 boxes in 80
# groups 122 and 15 ms.
_MOST_SHIFTED_ON_CPU = 1500
_MOST_SHIFTED_ON_GPU = 25_000


_Function = TypeVar("_Function", bound=Callable[..., Any])
# Whether there are boxes must not become a constant of a trace. torch has no types for it.
_compiled_in_a_trace: Callable[[_Function], _Function] = torch.jit.script_if_tracing


@_compiled_in_a_trace
def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Suppress boxes that overlap a better one of the same group by more than a threshold.

    Args:
        boxes: (N, 4) xyxy in pixels, any float dtype.
        scores: (N,) float.
        idxs: (N,) integer, the group (class, level) of each box.
        iou_threshold: in [0, 1].

    Returns:
        (K,) int64 indices of the boxes that are kept, by falling score.

    Raises:
        ArgumentError: if boxes is not (N, 4).
    """
    if boxes.dim() != 2 or boxes.shape[1] != 4:
        raise ArgumentError(f"boxes of batched_nms have shape {list(boxes.shape)}; give (N, 4).")
    # In half precision an IoU near the threshold falls on the wrong side.
    boxes, scores = boxes.float(), scores.float()
    if len(boxes) == 0:
        return torch.zeros(0, dtype=torch.int64, device=boxes.device)
    if is_scripting():
        return nms(_shifted_apart(boxes, idxs), scores.double(), iou_threshold)
    limit = _MOST_SHIFTED_ON_CPU if boxes.device.type == "cpu" else _MOST_SHIFTED_ON_GPU
    if len(boxes) <= limit:
        return nms(_shifted_apart(boxes, idxs), scores.double(), iou_threshold)
    return _nms_by_group(boxes, scores, idxs, iou_threshold)


@torch.jit.unused
def _nms_by_group(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    kept = torch.zeros_like(scores, dtype=torch.bool)
    by_group = idxs.argsort(stable=True)
    sizes = idxs.unique(return_counts=True)[1].tolist()
    for members in by_group.split(sizes):
        kept[members[nms(boxes[members], scores[members], iou_threshold)]] = True
    survivors = kept.nonzero()[:, 0]
    return survivors[scores[survivors].argsort(descending=True, stable=True)]


def _shifted_apart(boxes: Tensor, idxs: Tensor) -> Tensor:
    """Move each group by another distance, so that boxes of two groups never overlap."""
    # float64, since a shift of a thousand classes by a thousand pixels leaves float32 an
    # eighth of a pixel; and from the smallest coordinate, since boxes may reach left of the image.
    exact = boxes.double()
    span = exact.max() - exact.min() + 1
    return exact + (idxs.to(exact) * span)[:, None]


def nms_rotated(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Suppress rotated boxes that overlap a better one by more than a threshold.

    Args:
        boxes: (N, 5) float, each (centre x, centre y, width, height, degrees counter-clockwise).
        scores: (N,) float.
        iou_threshold: in [0, 1].

    Returns:
        (K,) int64 indices of the boxes that are kept, by falling score.
    """
    return batched_nms_rotated(boxes, scores, torch.zeros_like(scores), iou_threshold)


def batched_nms_rotated(
    boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float
) -> Tensor:
    """Suppress rotated boxes that overlap a better one of the same group.

    Args:
        boxes: (N, 5) float, each (centre x, centre y, width, height, degrees counter-clockwise).
        scores: (N,) float.
        idxs: (N,) the group of each box.
        iou_threshold: in [0, 1].

    Returns:
        (K,) int64 indices of the boxes that are kept, by falling score.

    Raises:
        ArgumentError: if boxes is not (N, 5).
    """
    if boxes.dim() != 2 or boxes.shape[1] != 5:
        raise ArgumentError(f"boxes of rotated NMS have shape {list(boxes.shape)}; give (N, 5).")
    order = scores.argsort(descending=True, stable=True)
    ranked, groups = boxes[order].float(), idxs[order]
    is_rival = (can_touch(ranked, ranked) & (groups[:, None] == groups)).triu(diagonal=1)
    better, worse = is_rival.nonzero().unbind(1)
    is_rival[better, worse] = iou_of_pairs(ranked[better], ranked[worse]) > iou_threshold
    rivals, kept = is_rival.cpu(), torch.ones(len(ranked), dtype=torch.bool)
    # Each decision rests on all earlier ones, so this loop cannot be a tensor operation.
    if is_scripting():
        for rank in range(len(kept)):
            if bool(kept[rank]):
                kept &= ~rivals[rank]
    else:
        # numpy shares the memory of `kept`, and takes less time for each row.
        alive, beaten_by = kept.numpy(), rivals.numpy()
        for rank in range(len(alive)):
            if alive[rank]:
                alive &= ~beaten_by[rank]
    return order[kept.to(order.device)]
