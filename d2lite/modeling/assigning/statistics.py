"""The assignment of ATSS: an object's own candidates say how much overlap is enough.

R anchors, M objects, K candidates of each object.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_iou

# Pixels that the centre of an anchor is inside the object, at least; the value of published code.
_INSIDE = 0.01


@torch.no_grad()
def assign_by_statistics(anchors: Sequence[Tensor], gt_boxes: Tensor, *, topk: int = 9) -> Tensor:
    """Give each object the anchors near its centre that overlap it more than most of these do.

    Args:
        anchors: one (Ri, 4) float xyxy a level.
        gt_boxes: (M, 4) float xyxy.
        topk: of each level, so many anchors whose centres are nearest are candidates.

    Returns:
        (R,) int64, the number of the object, -1 for background. A candidate is taken whose IoU is
        at least the mean of all candidates plus their deviation, and whose centre is in the
        object; of several objects, the one of the largest IoU.

    Source: Zhang 2019, arXiv:1912.02424, section 4.1.
    """
    whole, gt_boxes = torch.cat(list(anchors)).float(), gt_boxes.float()
    nobody = torch.full((len(whole),), -1, dtype=torch.int64, device=whole.device)
    if not len(gt_boxes) or not len(whole):
        return nobody
    low, high = gt_boxes[:, :2], gt_boxes[:, 2:]
    centers = ((whole[:, :2] + whole[:, 2:]) / 2)[:, None]
    distances = (centers - (low + high) / 2).norm(dim=2)
    sizes = [len(level) for level in anchors]
    firsts = torch.tensor([0, *sizes]).cumsum(0).tolist()
    candidates_KM = torch.cat(
        [
            level.topk(min(topk, len(level)), dim=0, largest=False).indices + first
            for level, first in zip(distances.split(sizes), firsts, strict=False)
        ]
    )
    ious = box_iou(whole, gt_boxes)
    overlaps_KM = ious.gather(0, candidates_KM)
    enough = overlaps_KM.mean(dim=0) + overlaps_KM.std(dim=0)
    is_inside = torch.minimum(centers - low, high - centers).amin(dim=2) > _INSIDE
    is_taken = (overlaps_KM >= enough) & is_inside.gather(0, candidates_KM)
    taken = torch.full_like(ious, -1.0)
    taken.scatter_(0, candidates_KM, overlaps_KM.where(is_taken, -1.0))
    best, owner = taken.max(dim=1)
    return owner.where(best >= 0, nobody)
