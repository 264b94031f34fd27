"""The order of the predictions of all cells, and where the cells are.

N images, A anchors a cell, Hi x Wi cells of level i, R cells of all levels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def permute_to_N_HWA_K(tensor: Tensor, K: int) -> Tensor:  # noqa: N803 - public names
    """Bring predictions into the order of anchors.

    Args:
        tensor: (N, A * K, Hi, Wi).
        K: numbers predicted for an anchor.

    Returns:
        (N, Hi * Wi * A, K).
    """
    n, _, h, w = tensor.shape
    cells_last = tensor.reshape(n, -1, K, h, w)
    return cells_last.permute(0, 3, 4, 1, 2).reshape(n, -1, K)


def cells_first(levels: Sequence[Tensor]) -> Tensor:
    """(N, K, Hi, Wi) of every level to (N, R, K)."""
    return torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)


def cell_corners(levels: Sequence[Tensor], strides: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Where the cells of all levels are.

    Args:
        levels: one (N, K, Hi, Wi) a level; only shape and device matter.
        strides: pixels of a cell, of each level.

    Returns:
        (R, 2) float32, the upper left corner (x, y) of each cell in pixels; (R,) its stride.
    """
    points, sides = [], []
    for level, stride in zip(levels, strides, strict=True):
        rows, columns = (torch.arange(side, device=level.device) for side in level.shape[-2:])
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        points.append(torch.stack([x, y], dim=2).flatten(0, 1).float() * stride)
        sides.append(torch.full_like(points[-1][:, 0], stride))
    return torch.cat(points), torch.cat(sides)
