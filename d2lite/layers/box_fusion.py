"""Weighted box fusion: boxes of several models that agree become one, between them."""

from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_iou

__all__ = ["FusedBoxes", "weighted_box_fusion"]


class FusedBoxes(NamedTuple):
    """Boxes by falling score.

    Attributes:
        boxes: (K, 4) float32 xyxy.
        scores: (K,) float32.
        classes: (K,) int64.
        best: (K,) int64, the position of the best box that each is made of.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor
    best: Tensor


def weighted_box_fusion(
    boxes: Tensor,
    scores: Tensor,
    classes: Tensor,
    num_models: int,
    iou_threshold: float = 0.55,
) -> FusedBoxes:
    """Join boxes of a class that overlap, one after the other, best first.

    A box joins the fused box that it overlaps most, if by more than the threshold, or begins a new
    one. A fused box has the mean of its boxes, weighted by their scores, and their mean score; the
    score falls where there are fewer boxes than models.

    Args:
        boxes: (N, 4) float, xyxy, of all models.
        scores: (N,) float in [0, 1].
        classes: (N,) int64.
        num_models: how many models they come from.
        iou_threshold: in [0, 1].

    Source: Solovyev 2019, arXiv:1910.13302.
    """
    boxes, scores = boxes.float(), scores.float()
    order = scores.argsort(descending=True, stable=True)
    fused, total = torch.zeros_like(boxes), torch.zeros_like(scores)
    counts, best = torch.zeros_like(scores), torch.zeros_like(order)
    labels = torch.full_like(order, -1)
    num = 0
    for position in order:
        box, score = boxes[position], scores[position]
        # Two boxes without area have no IoU.
        overlaps = box_iou(box[None], fused[:num])[0].nan_to_num(0.0)
        overlaps = overlaps.where(labels[:num] == classes[position], -1.0)
        place = num
        if num and overlaps.max() > iou_threshold:
            place = int(overlaps.argmax())
        else:
            labels[num], best[num] = classes[position], position
            num += 1
        weight = total[place] + score
        # Scores of 0 have no weight: the first box stays.
        share = score / weight if weight > 0 else float(counts[place] == 0)
        fused[place] = torch.lerp(fused[place], box, share)
        total[place], counts[place] = weight, counts[place] + 1
    counts = counts[:num]
    mean = total[:num] / counts * counts.clamp(max=num_models) / num_models
    ranked = mean.argsort(descending=True, stable=True)
    return FusedBoxes(fused[:num][ranked], mean[ranked], labels[:num][ranked], best[:num][ranked])
