"""Which cells learn which object in FSAF: a region of the level where its loss is smallest.

Source: Zhu 2019, arXiv:1903.00621, sections 3.1 and 3.2.

R cells of all levels, M objects of one image, P pairs of a cell and an object.
"""

import torch
from torch import Tensor

from d2lite.structures import Boxes, pairwise_ioa, pairwise_point_box_distance

# A cell is in a region that covers more than this share of it; the value of published code.
_LEAST_COVER = 0.01


def cells_in_regions(cells: Tensor, boxes: Tensor, share: float) -> Tensor:
    """Whether the region of an object, a box around its centre, covers some of a cell.

    Args:
        cells: (R, 4) float xyxy in pixels, squares of a stride around the points of the cells.
        boxes: (M, 4) float xyxy in pixels.
        share: of the sides of a box, those of its region.

    Returns:
        (R, M) bool.
    """
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * share
    regions = Boxes(torch.cat((centre - half, centre + half), dim=1))
    return pairwise_ioa(regions, Boxes(cells)).T > _LEAST_COVER


def learnable_cells(cells: Tensor, boxes: Tensor, share: float) -> Tensor:
    """Whether a cell can learn an object: it is in its region, and its point in the object.

    Args:
        cells: see `cells_in_regions`.
        boxes: likewise.
        share: likewise, of the effective region.

    Returns:
        (R, M) bool.
    """
    points = (cells[:, :2] + cells[:, 2:]) / 2
    is_inside = pairwise_point_box_distance(points, Boxes(boxes)).amin(dim=2) > 0
    return cells_in_regions(cells, boxes, share) & is_inside


def best_levels(
    losses: Tensor, objects: Tensor, levels: Tensor, num_objects: int, num_levels: int
) -> Tensor:
    """The level of each object whose cells have the smallest mean loss.

    Args:
        losses: (P,) float of a cell that learns an object.
        objects: (P,) int64, the number of that object.
        levels: (P,) int64, the number of the cell's level.
        num_objects: M.
        num_levels: of all.

    Returns:
        (M,) int64; 0 for an object without a cell.
    """
    place = objects * num_levels + levels
    total = losses.new_zeros(num_objects * num_levels).index_add_(0, place, losses)
    count = torch.zeros_like(total).index_add_(0, place, torch.ones_like(losses))
    means = torch.where(count > 0, total / count.clamp(min=1), torch.inf)
    return means.view(num_objects, num_levels).argmin(dim=1)


def assign_on_levels(
    is_learnable: Tensor, is_ignored: Tensor, apart: Tensor, areas: Tensor
) -> tuple[Tensor, Tensor]:
    """Say of each cell which object it learns, and of which it learns nothing.

    On its level an object is learnt by the cells that can; of several objects a cell learns the
    smallest. The other cells of its ignored region, there and on the levels beside, learn nothing
    of it.

    Args:
        is_learnable: (R, M) bool, see `learnable_cells`.
        is_ignored: (R, M) bool, whether the cell is in the ignored region of the object.
        apart: (R, M) int64, by how many levels the cell is apart from the level of the object.
        areas: (M,) float of the objects.

    Returns:
        (R,) int64, the number of the object, -1 for none; (R, M) bool, objects to leave out.
    """
    if not len(areas):
        return apart.new_full((len(apart),), -1), is_ignored
    is_own = is_learnable & (apart == 0)
    area, owner = torch.where(is_own, areas, torch.inf).min(dim=1)
    owner = owner.masked_fill(area.isinf(), -1)
    left_out = (is_ignored | is_learnable) & (apart <= 1)
    numbers = torch.arange(len(areas), device=owner.device)
    return owner, left_out & (numbers != owner[:, None])
