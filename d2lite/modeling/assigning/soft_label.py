"""The assignment of RTMDet: scores are compared with the IoU that their boxes have.

R predictions, M objects, C classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou

from .dynamic import Assignment, best_per_object

# Avoids an infinite logarithm; the value of published code.
_EPS = 1e-7
# Of the cost of a box.
_IOU_WEIGHT = 3.0
# In strides; a cell costs ten times more for each stride that it is further from the centre.
_RADIUS = 3.0


@torch.no_grad()
def assign_by_soft_labels(
    points: Tensor,
    strides: Tensor,
    logits: Tensor,
    boxes: Tensor,
    gt_boxes: Tensor,
    gt_classes: Tensor,
    gt_centers: Tensor | None = None,
    *,
    topk: int = 13,
) -> Assignment:
    """Give objects to the predictions whose class, box and place fit them best.

    Args:
        points: (R, 2) float (x, y) of each prediction's cell, in pixels. Only cells in the box of
            some object may learn one.
        strides: (R,) float, of their levels.
        logits: (R, C) float.
        boxes: (R, 4) float xyxy.
        gt_boxes: (M, 4) float xyxy.
        gt_classes: (M,) int64.
        gt_centers: (M, 2) float (x, y), such as the centres of masks; those of boxes without it.
        topk: see `best_per_object`.

    Source: Lyu 2022, arXiv:2212.07784, section 3.2.
    """
    logits, boxes, gt_boxes = logits.float(), boxes.float(), gt_boxes.float()
    owner = points.new_full((len(points),), -1, dtype=torch.int64)
    quality = torch.zeros_like(owner, dtype=torch.float32)
    low, high = gt_boxes[:, :2], gt_boxes[:, 2:]
    is_inside = ((points[:, None] > low) & (points[:, None] < high)).all(dim=2)
    # Of thousands of cells some hundred are in an object; the others need no costs.
    rows = is_inside.any(dim=1).nonzero().squeeze(1)
    if gt_centers is None:
        gt_centers = (low + high) / 2
    logits, boxes = logits[rows], boxes[rows]
    ious = box_iou(boxes, gt_boxes)
    distances = (points[rows, None] - gt_centers).norm(dim=2) / strides[rows, None]
    scores = logits[:, gt_classes]
    # Of one class at a time: the soft label is the IoU at the object's class, 0 elsewhere.
    others = _soft_cost(logits, torch.zeros_like(logits)).sum(dim=1, keepdim=True)
    at_class = _soft_cost(scores, ious) - _soft_cost(scores, torch.zeros_like(scores))
    costs = others + at_class - _IOU_WEIGHT * (ious + _EPS).log() + 10 ** (distances - _RADIUS)
    found = best_per_object(costs, ious, topk)
    return Assignment(
        owner.index_copy(0, rows, found.owner), quality.index_copy(0, rows, found.quality)
    )


def _soft_cost(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy, weighted by the squared distance of score and label."""
    entropy = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return entropy * (labels - logits.sigmoid()) ** 2
