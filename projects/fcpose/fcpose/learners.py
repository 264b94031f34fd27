"""Which of the cells with an object learn its pose.

R cells, M objects of one image, K keypoints.
"""

import torch
from torch import Tensor


@torch.no_grad()
def choose_learners(
    owner: Tensor, keypoints: Tensor, centers: Tensor, most_each: int, most: int
) -> Tensor:
    """The cells nearest to the middle of the keypoints of their object.

    Where there are too many, each object has its nearest cell before any has a second one.

    Args:
        owner: (R,) int64, the object of each cell; -1 for none.
        keypoints: (M, K, 3) x, y in pixels and visibility; objects without labelled keypoints are
            left out.
        centers: (R, 2) float, of the cells in pixels.
        most_each: cells of one object, at most.
        most: cells of the image, at most.

    Returns:
        (D,) int64 of the R cells.
    """
    is_labelled = keypoints[..., 2] > 0
    rows = (owner >= 0).nonzero().squeeze(1)
    rows = rows[is_labelled.any(dim=1)[owner[rows]]]
    weights = is_labelled.float()[..., None]
    middle = (keypoints[..., :2] * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
    distance = (centers[rows] - middle[owner[rows]]).norm(dim=1)
    rows = rows[distance.argsort(stable=True)]
    rows = rows[owner[rows].argsort(stable=True)]
    # The number of a cell among those of its object, nearest first.
    counts = torch.bincount(owner[rows], minlength=len(keypoints))
    rank = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[owner[rows]]
    order = rank.argsort(stable=True)[:most]
    return rows[order[rank[order] < most_each]]
