"""The assignment of YOLOv3: an object is learnt in the cell of its centre.

M objects, R anchors.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class CellAssignment(NamedTuple):
    """What each anchor of an image learns.

    owner: (R,) int64, the number of the object, -1 for none.
    is_background: (R,) bool; an anchor that is neither has no loss.
    """

    owner: Tensor
    is_background: Tensor


@torch.no_grad()
def assign_in_cells(
    ious: Tensor, has_centre: Tensor, *, above: float = 0.5, below: float = 0.5
) -> CellAssignment:
    """Give objects to the anchors of cells in which centres of objects are.

    Args:
        ious: (M, R) float, of objects and anchors.
        has_centre: (R,) bool, whether the centre of some object is in the anchor's cell.
        above: such an anchor learns the object of its largest IoU if that is larger. The best such
            anchors of each object learn it in any case, if they meet it at all; the best of
            several objects, the last.
        below: an anchor without a larger IoU than this is background.

    Source: Redmon 2018, arXiv:1804.02767, section 2.1.
    """
    num_objects, num = ious.shape
    nobody = torch.full((num,), -1, dtype=torch.int64, device=ious.device)
    if num_objects == 0 or num == 0:
        return CellAssignment(nobody, torch.ones_like(nobody, dtype=torch.bool))
    is_low = ious.amax(dim=0) <= below
    in_cells = ious.masked_fill(~has_centre, -1.0)
    best, number = in_cells.max(dim=0)
    owner = number.where(best > above, nobody)
    best_of_object = in_cells.amax(dim=1, keepdim=True)
    is_best = (in_cells == best_of_object) & (best_of_object > 0)
    last = torch.arange(num_objects, device=ious.device)[:, None].where(is_best, -1).amax(dim=0)
    owner = last.where(last >= 0, owner)
    return CellAssignment(owner, is_low & (owner < 0))
