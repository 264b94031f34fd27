"""Features of maps at real-valued points, and the choice of points where a prediction is unsure.

N maps or boxes, C channels, H x W cells, P points. A point is (x, y) with (0, 0) the upper left
corner of a map, not the centre of its first cell, and (1, 1) the lower right one.

Source: Kirillov 2019 (PointRend), arXiv:1912.08193, sections 3.1 and 3.2.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..utils.errors import ArgumentError
from ..utils.keyed_rng import image_generator

DrawPoints = Callable[[int], Tensor]
"""P -> (N, P, 2) points, drawn evenly in [0, 1)."""


def point_sample(input: Tensor, point_coords: Tensor, **kwargs: Any) -> Tensor:
    """Interpolate maps at points.

    Args:
        input: (N, C, H, W) float.
        point_coords: (N, P, 2) or (N, Hg, Wg, 2) points; cells outside of the map count as 0.
        **kwargs: of `torch.nn.functional.grid_sample`; give align_corners=False for points as
            they are described above, and mode="nearest" for labels.

    Returns:
        (N, C, P) or (N, C, Hg, Wg).
    """
    is_list = point_coords.dim() == 3
    grid = point_coords[:, :, None] if is_list else point_coords
    # Half precision has not enough digits for places; the map has to be of the grid's type.
    sampled = F.grid_sample(input.to(grid.dtype), 2.0 * grid - 1.0, **kwargs)
    return sampled[..., 0] if is_list else sampled


def generate_regular_grid_point_coords(
    num_grids: int, side_size: int, device: torch.device | str
) -> Tensor:
    """The centres of the cells of a square grid, row by row.

    Args:
        num_grids: N, how many copies.
        side_size: cells along a side.
        device: of the result.

    Returns:
        (N, side_size ** 2, 2) float32 points.
    """
    centres = (torch.arange(side_size, device=device, dtype=torch.float32) + 0.5) / side_size
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([x, y], dim=-1).view(1, -1, 2).repeat(num_grids, 1, 1)


def points_of_images(counts: Sequence[int], purpose: int, device: torch.device | str) -> DrawPoints:
    """A source of random points for the objects of a batch.

    The points of an image follow from its key, so that they are the same for any number of
    processes and after a stop; see `d2lite.utils.keyed_rng`.

    Args:
        counts: objects of each image, in the order of the batch.
        purpose: a number that distinguishes this kind of draw from others, see `image_generator`.
        device: of the points.
    """
    generators = [image_generator(image, purpose, device) for image in range(len(counts))]

    def draw(num_points: int) -> Tensor:
        drawn = [
            torch.rand(count, num_points, 2, device=device, generator=generator)
            for count, generator in zip(counts, generators, strict=True)
        ]
        return torch.cat(drawn) if drawn else torch.zeros(0, num_points, 2, device=device)

    return draw


def get_uncertain_point_coords_with_randomness(
    coarse_logits: Tensor,
    uncertainty_func: Callable[[Tensor], Tensor],
    num_points: int,
    oversample_ratio: float,
    importance_sample_ratio: float,
    *,
    draw: DrawPoints | None = None,
) -> Tensor:
    """Choose points to train on: the least certain of many random ones, and some at random.

    Args:
        coarse_logits: (N, C, H, W) predictions.
        uncertainty_func: (N, C, P) predictions at points -> (N, 1, P); more for less certain.
        num_points: P.
        oversample_ratio: how many times P points are drawn as candidates, at least 1.
        importance_sample_ratio: share of P that are chosen among the candidates, in [0, 1].
        draw: where random points come from; torch's global generator if None.

    Returns:
        (N, P, 2) points.

    Raises:
        ArgumentError: if a ratio is out of its range.
    """
    if oversample_ratio < 1 or not 0 <= importance_sample_ratio <= 1:
        raise ArgumentError(
            f"oversample_ratio is {oversample_ratio}, expected 1 or more (OVERSAMPLE_RATIO); "
            f"importance_sample_ratio is {importance_sample_ratio}, expected 0 to 1 "
            "(IMPORTANCE_SAMPLE_RATIO)."
        )
    if draw is None:
        draw = points_of_images([len(coarse_logits)], 0, coarse_logits.device)
    num_chosen = int(importance_sample_ratio * num_points)
    candidates = draw(int(num_points * oversample_ratio))
    at_candidates = point_sample(coarse_logits, candidates, align_corners=False)
    # The predictions at points are what counts: certain neighbours of opposite signs have an
    # uncertain border between them, which the uncertainty of cells does not show.
    ranks = uncertainty_func(at_candidates)[:, 0].topk(num_chosen, dim=1).indices
    chosen = candidates.gather(1, ranks[..., None].expand(-1, -1, 2))
    return torch.cat([chosen, draw(num_points - num_chosen)], dim=1)


def get_uncertain_point_coords_on_grid(
    uncertainty_map: Tensor, num_points: int
) -> tuple[Tensor, Tensor]:
    """Choose the least certain cells of maps.

    Args:
        uncertainty_map: (N, 1, H, W); more for less certain.
        num_points: P; all cells where a map has fewer.

    Returns:
        (N, P) int64 positions in the flattened maps, and (N, P, 2) centres of these cells.
    """
    height, width = uncertainty_map.shape[-2:]
    flat = uncertainty_map.flatten(1)
    if isinstance(height * width, torch.SymInt):
        # While a graph is recorded the number must be a constant: the last cell comes repeatedly.
        more = flat.new_full((flat.shape[0], num_points), -torch.inf)
        positions = torch.cat([flat, more], dim=1).topk(num_points, dim=1).indices
        positions = positions.clamp(max=height * width - 1)
    else:
        positions = flat.topk(min(num_points, height * width), dim=1).indices
    row = torch.div(positions, width, rounding_mode="floor")
    cell = torch.stack([positions - row * width, row], dim=-1)
    size = torch.tensor([width, height], device=cell.device, dtype=torch.float32)
    return positions, (cell + 0.5) / size


def put_at_cells(maps: Tensor, positions: Tensor, values: Tensor) -> Tensor:
    """Maps with new values in some cells.

    Args:
        maps: (N, C, H, W); not changed.
        positions: (N, P) int64, of the flattened maps.
        values: (N, C, P).
    """
    index = positions[:, None].expand(-1, maps.shape[1], -1)
    return maps.flatten(2).scatter(2, index, values.to(maps.dtype)).view_as(maps)
