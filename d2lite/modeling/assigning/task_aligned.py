"""The assignment of TOOD: an object is learnt where both its score and its box are good.

R predictions, M objects, C classes.
"""

import torch
from torch import Tensor
from torchvision.ops import box_iou

from .dynamic import Assignment


@torch.no_grad()
def assign_by_alignment(
    points: Tensor,
    logits: Tensor,
    boxes: Tensor,
    gt_boxes: Tensor,
    gt_classes: Tensor,
    *,
    topk: int = 13,
) -> Assignment:
    """Give each object the predictions of the largest score * IoU ** 6.

    Args:
        points: (R, 2) float (x, y) of each prediction's cell, in pixels. Only cells in the box of
            an object may learn it.
        logits: (R, C) float.
        boxes: (R, 4) float xyxy.
        gt_boxes: (M, 4) float xyxy.
        gt_classes: (M,) int64.
        topk: predictions of an object, at most. One that several objects want goes to that of the
            largest IoU.

    Returns:
        The owners; as quality that product, scaled so that the largest one of an object is the
        largest IoU of its predictions.

    Source: Feng 2021 (TOOD), arXiv:2108.07755, section 3.2.
    """
    ious = box_iou(boxes.float(), gt_boxes.float())
    low, high = gt_boxes[:, :2], gt_boxes[:, 2:]
    is_inside = ((points[:, None] > low) & (points[:, None] < high)).all(dim=2)
    scores = logits.float().sigmoid()[:, gt_classes]
    aligned = (scores * ious**6).where(is_inside, 0)
    if aligned.numel() == 0:
        return Assignment(gt_classes.new_full((len(points),), -1), ious.new_zeros(len(points)))
    best, rows = aligned.topk(min(topk, len(points)), dim=0)
    wanted = torch.zeros_like(is_inside).scatter_(0, rows, best > 0)
    owner = ious.where(wanted, -1).argmax(dim=1)
    owner = owner.where(wanted.any(dim=1), -1)
    is_own = owner[:, None] == torch.arange(len(gt_boxes), device=owner.device)
    aligned, ious = aligned.where(is_own, 0), ious.where(is_own, 0)
    # An object that nobody learns has a maximum of 0.
    shares = aligned / aligned.amax(dim=0).clamp(min=torch.finfo(torch.float32).tiny)
    return Assignment(owner, (shares * ious.amax(dim=0)).sum(dim=1))
