"""Fast suppression: a box is dropped for any better one, whether that one is kept or not."""

import torch
from torch import Tensor
from torchvision.ops import box_iou

__all__ = ["fast_nms"]

# Boxes that are compared at a time with all better ones; bounds the memory.
_BLOCK = 256


def fast_nms(
    boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, most: int = -1
) -> Tensor:
    """Keep the boxes that overlap no better one of their group, not even a dropped one.

    It drops some boxes more than `batched_nms`, and needs no order in which boxes are decided on.

    Args:
        boxes: (N, 4) float, xyxy.
        scores: (N,) float; of equal ones the earlier is the better.
        groups: (N,) integer, such as the class; boxes of two groups do not compete.
        iou_threshold: boxes of a larger IoU with a better one are dropped.
        most: how many are wanted; below 0 for all.

    Returns:
        (K,) int64 positions, best first.

    Source: Bolya 2019 (YOLACT), arXiv:1904.02689, section 3.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes, groups = boxes[order].float(), groups[order]
    kept, found = [order[:0]], 0
    for start in range(0, len(order), _BLOCK):
        end = min(start + _BLOCK, len(order))
        # Two boxes without area have no IoU; comparing with NaN is false.
        is_rival = box_iou(boxes[start:end], boxes[:end]) > iou_threshold
        is_rival &= groups[start:end, None] == groups[:end]
        kept.append(order[start:end][~is_rival.tril(start - 1).any(dim=1)])
        found += len(kept[-1])
        if 0 <= most <= found:
            break
    positions = torch.cat(kept)
    return positions if most < 0 else positions[:most]
