"""Deformable attention around boxes: offsets are in units of a query's box.

N images, L maps of S cells in all, Q queries, M heads, P places of a query and head in all maps.

Source: Zhu 2020 (Deformable DETR), arXiv:2010.04159, section 4.1; Lv 2024 (RT-DETRv2),
arXiv:2407.17140, for a number of places for each map and for the discrete form; Peng 2024
(D-FINE), arXiv:2410.13842, for the form without projections.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from d2lite.utils.errors import ConfigError

from .deformable_attention import deformable_attention, fill_attention

METHODS = ("default", "discrete")


class BoxAttention(nn.Module):
    """Each query attends to places around the centre of its box.

    Args:
        channels: of queries, values and the result; `heads` times a whole number.
        heads: M.
        points: places of a query and head in each map, L numbers.
        offset_scale: an offset of `points` is this share of the box.
        method: "default" interpolates between cells; "discrete" takes the cell that a place is in.
        has_projections: project values and the result.

    Raises:
        ConfigError: for an unknown method, or if the channels do not divide over the heads.
    """

    scale: Tensor

    def __init__(
        self,
        channels: int,
        heads: int,
        points: Sequence[int],
        *,
        offset_scale: float = 0.5,
        method: str = "default",
        has_projections: bool = True,
    ) -> None:
        super().__init__()
        if channels % heads:
            raise ConfigError(f"{channels} channels do not divide over {heads} heads.")
        if method not in METHODS:
            raise ConfigError(f"DECODER.METHOD={method!r}: use one of {list(METHODS)}.")
        self.heads, self.points = heads, list(points)
        self.is_discrete = method == "discrete"
        self.offset_scale = offset_scale
        places = heads * sum(self.points)
        self.sampling_offsets = nn.Linear(channels, 2 * places)
        self.attention_weights = nn.Linear(channels, places)
        self.value_proj: nn.Module = nn.Identity()
        self.output_proj: nn.Module = nn.Identity()
        if has_projections:
            self.value_proj = nn.Linear(channels, channels)
            self.output_proj = nn.Linear(channels, channels)
        # Offsets of a map with more places are divided by more, so that all maps look as far.
        scale = torch.tensor([offset_scale / number for number in points for _ in range(number)])
        self.register_buffer("scale", scale[:, None], persistent=False)
        fill_attention(self, heads, self.points)

    def forward(
        self, queries: Tensor, boxes: Tensor, maps: Tensor, shapes: Sequence[tuple[int, int]]
    ) -> Tensor:
        """Attend.

        Args:
            queries: (N, Q, channels).
            boxes: (N, Q, 4) float32 (cx, cy, w, h) in shares of the image.
            maps: (N, S, channels), the cells of the maps one after the other.
            shapes: (height, width) of each map.

        Returns:
            (N, Q, channels).
        """
        split = (self.heads, -1)
        offsets = self.sampling_offsets(queries).unflatten(-1, (*split, 2))
        weights = self.attention_weights(queries).unflatten(-1, split).softmax(dim=-1)
        center, sides = boxes[:, :, None, None].split(2, dim=-1)
        places = center + offsets.to(boxes.dtype) * self.scale * sides
        values = self.value_proj(maps).unflatten(-1, split)
        attended = deformable_attention(
            values,
            shapes,
            places.split(self.points, dim=3),
            weights.split(self.points, dim=3),
            is_discrete=self.is_discrete,
        )
        return self.output_proj(attended.to(queries.dtype))
