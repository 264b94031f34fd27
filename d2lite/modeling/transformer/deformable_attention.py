"""Attention to a few learned places of several maps, instead of to all cells.

N images, L maps of S cells in all, Q queries, M heads of D channels each, P places for each query,
head and map. A place is (x, y), (0, 0) the upper left corner of a map and (1, 1) the lower right.

Source: Zhu 2020 (Deformable DETR), arXiv:2010.04159, section 4.1.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2lite.layers.point_sampling import point_sample
from d2lite.utils.errors import ArgumentError, ConfigError

from ..weight_init import glorot_fill, zero_fill


def deformable_attention(
    values: Tensor,
    shapes: Sequence[tuple[int, int]],
    places: Sequence[Tensor],
    weights: Sequence[Tensor],
    *,
    is_discrete: bool = False,
) -> Tensor:
    """Interpolate maps at places, and add up what is found there.

    Args:
        values: (N, S, M, D), the cells of the maps one after the other, row by row.
        shapes: (height, width) of each map.
        places: for each map (N, Q, M, P, 2) float; beyond the border of a map there are zeros. P
            may differ from map to map.
        weights: for each map (N, Q, M, P).
        is_discrete: take the value of the cell that a place is in, or of the nearest cell for a
            place beyond the border; then places get no gradient.

    Returns:
        (N, Q, M * D).

    Raises:
        ArgumentError: if `values` has another number of cells than the maps.
    """
    batch, cells, heads, channels = values.shape
    areas = [height * width for height, width in shapes]
    if sum(areas) != cells:
        raise ArgumentError(f"values has {cells} cells, but maps of {list(shapes)} {sum(areas)}.")
    queries = places[0].shape[1]
    result = values.new_zeros(batch * heads, channels, queries)
    # One copy for all maps; its parts are maps of (H, W) with their rows one after the other.
    by_head = values.permute(0, 2, 3, 1).flatten(0, 1).contiguous()
    parts = by_head.split(areas, dim=2)
    for shape, part, of_map, share in zip(shapes, parts, places, weights, strict=True):
        # One grid of (Q, P) points for each image and head.
        grid, factors = (x.transpose(1, 2).flatten(0, 1) for x in (of_map, share))
        if is_discrete:
            found = _cells_at(part, shape, grid)
        else:
            maps = part.unflatten(2, shape)
            found = point_sample(maps, grid, mode="bilinear", align_corners=False)
        result = result + (found * factors[:, None]).sum(dim=-1)
    return result.view(batch, heads * channels, queries).transpose(1, 2)


def _cells_at(maps: Tensor, shape: tuple[int, int], places: Tensor) -> Tensor:
    """(B, D, H * W) maps at (B, Q, P, 2) places -> (B, D, Q, P), the cells that they are in."""
    height, width = shape
    # The limits are those of the index, so that NaN does not become one out of range.
    column = (places[..., 0].detach().nan_to_num() * width).floor().long().clamp(0, width - 1)
    row = (places[..., 1].detach().nan_to_num() * height).floor().long().clamp(0, height - 1)
    index = (row * width + column).flatten(1)[:, None].expand(-1, maps.shape[1], -1)
    return maps.gather(2, index).unflatten(2, places.shape[1:3])


def fill_attention(attention: Any, heads: int, points: Sequence[int]) -> None:
    """Set start values: head m looks in direction m of a star, place p of a map at p + 1 steps.

    Args:
        attention: its layers `sampling_offsets`, `attention_weights`, and `value_proj` and
            `output_proj` where these are linear, are changed in place.
        heads: M.
        points: places of a query and head in each map.
    """
    zero_fill(attention.sampling_offsets)
    zero_fill(attention.attention_weights)
    for projection in (attention.value_proj, attention.output_proj):
        if isinstance(projection, nn.Linear):
            glorot_fill(projection)
    angles = torch.arange(heads) * (2 * math.pi / heads)
    star = torch.stack([angles.cos(), angles.sin()], dim=1)
    # On the border of a square, so that diagonal heads reach as many cells far.
    star = star / star.abs().amax(dim=1, keepdim=True)
    steps = torch.cat([torch.arange(1, number + 1) for number in points])
    with torch.no_grad():
        attention.sampling_offsets.bias.copy_((star[:, None] * steps[:, None]).flatten())


class MultiScaleDeformableAttention(nn.Module):
    """Each query attends to P places a map and head, around a place of its own.

    Args:
        channels: of queries, values and the result; `heads` times a whole number.
        levels: L.
        heads: M.
        points: P.

    Raises:
        ConfigError: if the channels do not divide over the heads.
    """

    def __init__(self, channels: int, levels: int, heads: int, points: int) -> None:
        super().__init__()
        if channels % heads:
            raise ConfigError(f"{channels} channels do not divide over {heads} heads.")
        self.levels, self.heads, self.points = levels, heads, points
        places = heads * levels * points
        self.sampling_offsets = nn.Linear(channels, 2 * places)
        self.attention_weights = nn.Linear(channels, places)
        self.value_proj = nn.Linear(channels, channels)
        self.output_proj = nn.Linear(channels, channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set start values, see `fill_attention`."""
        fill_attention(self, self.heads, [self.points] * self.levels)

    def forward(
        self,
        queries: Tensor,
        reference: Tensor,
        maps: Tensor,
        shapes: Sequence[tuple[int, int]],
        padding: Tensor | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            queries: (N, Q, channels).
            reference: (Q, 2) or (N, Q, 2), the place of each query, or (N, Q, L, 2) where it
                differs from map to map. With 4 numbers (cx, cy, w, h) offsets are in units of
                half a box, divided by P; otherwise in cells.
            maps: (N, S, channels), the cells of the maps one after the other.
            shapes: (height, width) of each map.
            padding: (N, S) bool, True for cells that have the value 0; None if there are none.

        Returns:
            (N, Q, channels).
        """
        heads = (self.heads, -1)
        split = (self.heads, self.levels, self.points)
        offsets = self.sampling_offsets(queries).unflatten(-1, (*split, 2)).to(reference.dtype)
        weights = self.attention_weights(queries).unflatten(-1, heads).softmax(dim=-1)
        if reference.dim() < 4:
            reference = reference[..., None, :]
        center, sides = reference[..., None, :, None, :].tensor_split([2], dim=-1)
        if sides.shape[-1]:
            places = center + offsets * sides * (0.5 / self.points)
        else:
            # Offsets are in cells, and so depend on the size of the map.
            steps = [
                torch.stack([part[..., 0] / width, part[..., 1] / height], dim=-1)
                for part, (height, width) in zip(offsets.unbind(-3), shapes, strict=True)
            ]
            places = center + torch.stack(steps, dim=-3)
        values = self.value_proj(maps)
        if padding is not None:
            values = values.masked_fill(padding[:, :, None], 0.0)
        values = values.unflatten(-1, heads)
        shares = weights.unflatten(-1, split[1:])
        attended = deformable_attention(values, shapes, places.unbind(3), shares.unbind(3))
        return self.output_proj(attended.to(queries.dtype))
