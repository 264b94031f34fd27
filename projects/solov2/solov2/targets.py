"""Ground truth of SOLOv2: which cells of which grid learn which object.

N instances of one image, L levels, S cells along a side, P positive (cell, instance) pairs.
Everything stays on the masks' device and no loop runs over instances or cells.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

# OpenCV weighs the two neighbours of a linear resize with 11-bit integers.
_WEIGHT_BITS = 11


class CellTargets(NamedTuple):
    """What the cells of one image learn; cells are numbered over all levels, finest first."""

    labels: Tensor  # (R,) int64 category of every cell, num_classes for background
    cells: Tensor  # (P,) int64 cell of every positive pair
    instances: Tensor  # (P,) int64 instance of every positive pair


@lru_cache(maxsize=256)
def _axis_weights(size: int, new_size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Two source rows (or columns) of every new one and their integer weights, (2, new_size)."""
    # On the CPU, since not every device has float64; images have few sizes.
    center = torch.arange(new_size, dtype=torch.float64) + 0.5
    position = (center * (size / new_size) - 0.5).float()
    first = position.floor()
    second_weight = ((position - first) * (1 << _WEIGHT_BITS)).round().int()
    neighbours = torch.stack([first, first + 1]).long().clamp(0, size - 1)
    weights = torch.stack([(1 << _WEIGHT_BITS) - second_weight, second_weight])
    return neighbours.to(device), weights.to(device)


def shrink_masks(masks: Tensor, stride: int = 4) -> Tensor:
    """Bring bitmaps to the mask features' resolution.

    Sampled linearly without antialiasing and rounded to 0 or 1: exactly the result of OpenCV's
    linear resize of a uint8 bitmap, on which the published models were trained.

    Args:
        masks: (N, H, W) bool.
        stride: how many times smaller.

    Returns:
        (N, int(H / stride + 0.5), int(W / stride + 0.5)) bool.
    """
    height, width = masks.shape[-2:]
    new_height, new_width = (max(int(side / stride + 0.5), 1) for side in (height, width))
    rows, row_weights = _axis_weights(height, new_height, masks.device)
    columns, column_weights = _axis_weights(width, new_width, masks.device)
    pixels = masks.view(torch.uint8)
    # The four pixels under a new one, as bits: upper left, lower left, upper right, lower right.
    pair = torch.add(pixels[:, rows[0]], pixels[:, rows[1]], alpha=2)
    quad = torch.add(pair[..., columns[0]], pair[..., columns[1]], alpha=4)
    shrunk = quad == 0b1111
    # Four equal pixels need no weights, so only outlines are weighed.
    at = ((quad > 0) & ~shrunk).nonzero(as_tuple=True)
    bits = quad[at] >> torch.arange(4, dtype=torch.uint8, device=masks.device)[:, None] & 1
    left_weight, right_weight = column_weights[:, at[2]]
    # OpenCV cuts off low bits before and after weighing the rows, so that a sum a little above one
    # half may round down. Quarters are left; two of them make a pixel.
    sums = bits[:2] * left_weight + bits[2:] * right_weight
    quarters = ((sums >> 4) * row_weights[:, at[1]] >> 16).sum(dim=0)
    shrunk[at] = quarters >= 2
    return shrunk


def _count(masks: Tensor, dim: int) -> Tensor:
    """How many pixels are set along one axis of (N, H, W) bool, as float32.

    Halves are added as bytes while counts fit into one: several times as fast as a sum, which
    first makes a number of four bytes of every pixel.
    """
    counts, most = masks.view(torch.uint8), 1
    while 2 * most <= 255 and counts.shape[dim] > 1:
        # Of an odd length the first half is the longer.
        first, second = counts.tensor_split((-(-counts.shape[dim] // 2),), dim=dim)
        counts = first.clone()
        counts.narrow(dim, 0, second.shape[dim]).add_(second)
        most *= 2
    return counts.sum(dim=dim, dtype=torch.float32)


def mask_centers(masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Centre of mass of each bitmap.

    Args:
        masks: (N, H, W) bool.

    Returns:
        x (N,) and y (N,) float32 in pixels, 0 where the mask is empty, and (N,) float32 areas.
    """
    column_mass, row_mass = _count(masks, 1), _count(masks, 2)
    area = row_mass.sum(dim=1)
    xs = torch.arange(column_mass.shape[1], device=masks.device, dtype=torch.float32)
    ys = torch.arange(row_mass.shape[1], device=masks.device, dtype=torch.float32)
    safe_area = area.clamp(min=1e-6)
    return (column_mass * xs).sum(1) / safe_area, (row_mass * ys).sum(1) / safe_area, area


def _cell_range(
    center: Tensor, half_extent: Tensor, full_size: int, num_grid: int
) -> tuple[Tensor, Tensor, Tensor]:
    """First, middle and last cell of the centre regions along one axis; at most three cells."""

    def cell(position: Tensor) -> Tensor:
        return torch.div(position / full_size, 1.0 / num_grid, rounding_mode="floor").long()

    middle = cell(center)
    first = torch.maximum(cell(center - half_extent).clamp(min=0), middle - 1)
    last = torch.minimum(cell(center + half_extent).clamp(max=num_grid - 1), middle + 1)
    return first, middle, last


def assign_cells(
    boxes: Tensor,
    classes: Tensor,
    masks: Tensor,
    *,
    padded_size: tuple[int, int],
    num_grids: Sequence[int],
    scale_ranges: Sequence[tuple[float, float]],
    sigma: float,
    num_classes: int,
) -> CellTargets:
    """Give each object the cells around its centre of mass, on every level that fits its size.

    If two objects get the same cell, its category is that of the later one, and its kernel
    learns both masks.

    Args:
        boxes: (N, 4) float, xyxy in pixels.
        classes: (N,) int64 in [0, num_classes).
        masks: (N, H, W) bool.
        padded_size: height and width in pixels that the grids cover.
        num_grids: S of every level.
        scale_ranges: smallest and largest sqrt(w * h) in pixels of every level, both included.
        sigma: share of the box, around the centre, whose cells are positive.
        num_classes: label of the background.

    Returns:
        The targets of one image; pairs are ordered by level, instance, row, column.
    Source: SOLO, arXiv:1912.04488, section 3.3.1; SOLOv2, arXiv:2003.10152.
    """
    device = boxes.device
    width, height = (boxes[:, 2:] - boxes[:, :2]).unbind(dim=1)
    size = (width * height).sqrt()
    center_x, center_y, area = mask_centers(masks)
    steps = torch.arange(-1, 2, device=device)
    cells, instances = [], []
    first_cell = 0
    for num_grid, (smallest, largest) in zip(num_grids, scale_ranges, strict=True):
        top, row, bottom = _cell_range(center_y, 0.5 * height * sigma, padded_size[0], num_grid)
        left, col, right = _cell_range(center_x, 0.5 * width * sigma, padded_size[1], num_grid)
        rows, cols = row[:, None] + steps, col[:, None] + steps  # (N, 3)
        row_is_in = (rows >= top[:, None]) & (rows <= bottom[:, None])
        col_is_in = (cols >= left[:, None]) & (cols <= right[:, None])
        fits = (size >= smallest) & (size <= largest) & (area > 0)
        positive = fits[:, None, None] & row_is_in[:, :, None] & col_is_in[:, None, :]
        numbers = first_cell + rows[:, :, None] * num_grid + cols[:, None, :]  # (N, 3, 3)
        instances.append(positive.nonzero()[:, 0])
        cells.append(numbers[positive])
        first_cell += num_grid**2
    cell_of_pair, instance_of_pair = torch.cat(cells), torch.cat(instances)
    owner = torch.full((first_cell,), -1, dtype=torch.int64, device=device)
    owner.scatter_reduce_(0, cell_of_pair, instance_of_pair, reduce="amax")
    padded_classes = torch.cat([classes, classes.new_tensor([num_classes])])
    return CellTargets(padded_classes[owner], cell_of_pair, instance_of_pair)
