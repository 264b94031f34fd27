"""The assignment of YOLOX: an object is learnt where class and box fit it, near its centre first.

R predictions, M objects, C classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou

from .dynamic import Assignment, best_per_object

# Avoids an infinite logarithm; the value of published code.
_EPS = 1e-8
# Of the cost of a box.
_IOU_WEIGHT = 3.0
# Added where a cell is outside the box or far from the centre, so that the others come first.
_FAR = 1e5


@torch.no_grad()
def assign_by_sim_ota(
    points: Tensor,
    strides: Tensor,
    logits: Tensor,
    objectness: Tensor,
    boxes: Tensor,
    gt_boxes: Tensor,
    gt_classes: Tensor,
    *,
    topk: int = 10,
    radius: float = 2.5,
) -> Assignment:
    """Give objects to the predictions whose class and box fit them best.

    Args:
        points: (R, 2) float (x, y), the centre of each prediction's cell, in pixels. Only cells
            in the box of some object or near its centre may learn one.
        strides: (R,) float, of their levels.
        logits: (R, C) float.
        objectness: (R,) float, logits; the score is the root of both probabilities' product.
        boxes: (R, 4) float xyxy.
        gt_boxes: (M, 4) float xyxy.
        gt_classes: (M,) int64.
        topk: see `best_per_object`.
        radius: cells are near a centre if both coordinates differ by less, in strides.

    Source: Ge 2021, arXiv:2107.08430, section 2.1.
    """
    owner = points.new_full((len(points),), -1, dtype=torch.int64)
    quality = torch.zeros_like(owner, dtype=torch.float32)
    gt_boxes = gt_boxes.float()
    low, high = gt_boxes[:, :2], gt_boxes[:, 2:]
    places = points[:, None]
    is_inside = ((places > low) & (places < high)).all(dim=2)
    offsets = (places - (low + high) / 2).abs().amax(dim=2)
    is_near = offsets < radius * strides[:, None]
    # Of thousands of cells some hundred may learn an object; the others need no costs.
    rows = (is_inside | is_near).any(dim=1).nonzero().squeeze(1)
    logits, objectness = logits[rows].float(), objectness[rows, None].float()
    ious = box_iou(boxes[rows].float(), gt_boxes)
    log_scores = (F.logsigmoid(logits) + F.logsigmoid(objectness)) / 2
    log_rest = torch.log1p(-log_scores.exp().clamp(max=1 - _EPS))
    # Binary cross-entropy over all classes: 1 at the object's class, 0 elsewhere.
    costs = -log_rest.sum(dim=1, keepdim=True) + (log_rest - log_scores)[:, gt_classes]
    costs = costs - _IOU_WEIGHT * (ious + _EPS).log()
    costs = costs + _FAR * ~(is_inside & is_near)[rows]
    found = best_per_object(costs, ious, topk)
    return Assignment(
        owner.index_copy(0, rows, found.owner), quality.index_copy(0, rows, found.quality)
    )
