"""DeformableEncoder: layers of deformable attention of all cells of some maps to each other.

N images, C channels, L maps of S cells in all.

Source: Zhu 2020 (Deformable DETR), arXiv:2010.04159, section 4.1.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.structures import ImageList

from ..padded import inside_sizes
from .deformable_attention import MultiScaleDeformableAttention
from .memory import Memory, visible_cells
from .position_encoding import cell_centers, sine_position_encoding


class DeformableEncoderLayer(nn.Module):
    """Deformable attention of all cells to all maps, and a perceptron; norms after each.

    Args:
        channels: C.
        hidden: channels in the middle of the perceptron.
        dropout: rate.
        levels: L.
        heads: of the attention.
        points: of each head and map.
    """

    def __init__(
        self, channels: int, hidden: int, dropout: float, levels: int, heads: int, points: int
    ) -> None:
        super().__init__()
        self.self_attn = MultiScaleDeformableAttention(channels, levels, heads, points)
        self.norm1 = nn.LayerNorm(channels)
        self.linear1 = nn.Linear(channels, hidden)
        self.linear2 = nn.Linear(hidden, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        cells: Tensor,
        positions: Tensor,
        places: Tensor,
        shapes: Sequence[tuple[int, int]],
        padding: Tensor | None = None,
    ) -> Tensor:
        """Compute the layer.

        Args:
            cells: (N, S, C).
            positions: (S, C) or (N, S, C), added to what asks.
            places: (S, 2), see `cell_centers`, or as `MultiScaleDeformableAttention` takes them.
            shapes: (height, width) of each map.
            padding: (N, S) bool, True for cells of the padding.

        Returns:
            (N, S, C).
        """
        attended = self.self_attn(cells + positions, places, cells, shapes, padding)
        cells = self.norm1(cells + self.dropout(attended))
        hidden = self.dropout(F.relu(self.linear1(cells)))
        return self.norm2(cells + self.dropout(self.linear2(hidden)))


class DeformableEncoder(nn.Module):
    """Layers over maps that have as many channels each.

    Parameters keep torch's start values until `reset_parameters`, so that a subclass can add
    layers and set the start values of all together.

    Args:
        channels: C.
        levels: L.
        layers: how many.
        hidden: see `DeformableEncoderLayer`.
        dropout: likewise.
        heads: likewise.
        points: likewise.
        temperature: see `sine_position_encoding`.
        offset: likewise.
    """

    def __init__(
        self,
        channels: int,
        levels: int,
        layers: int,
        *,
        hidden: int,
        dropout: float,
        heads: int,
        points: int,
        temperature: float = 10000.0,
        offset: float = 0.0,
    ) -> None:
        super().__init__()
        self.waves = partial(sine_position_encoding, temperature=temperature, offset=offset)
        stack = [
            DeformableEncoderLayer(channels, hidden, dropout, levels, heads, points)
            for _ in range(layers)
        ]
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(stack)})
        self.level_embed = nn.Parameter(torch.empty(levels, channels))

    def reset_parameters(self) -> None:
        """Set start values."""
        nn.init.normal_(self.level_embed)
        layers: Any = self.encoder["layers"]
        for layer in layers:
            nn.init.xavier_uniform_(layer.linear1.weight)
            nn.init.xavier_uniform_(layer.linear2.weight)

    def forward(self, maps: Sequence[Tensor], images: ImageList | None = None) -> Memory:
        """Encode maps.

        Args:
            maps: (N, C, Hi, Wi) each.
            images: the padded batch that they are of, to leave out the padding; None to use it.
        """
        device, channels = maps[0].device, maps[0].shape[1]
        shapes = [(level.shape[-2], level.shape[-1]) for level in maps]
        memory = Memory(torch.cat([level.flatten(2).mT for level in maps], dim=1), shapes)
        visible = [None if images is None else visible_cells(images, shape) for shape in shapes]
        waves = [
            self.waves(*shape, channels, device, visible=part)
            for part, shape in zip(visible, shapes, strict=True)
        ]
        rows = zip(waves, self.level_embed, strict=True)
        positions = torch.cat([wave.flatten(-2).mT + embedded for wave, embedded in rows], dim=-2)
        positions = positions.to(memory.cells.dtype)
        # Padding is in all maps or in none.
        seen = [part for part in visible if part is not None]
        if seen:
            inside = [inside_sizes(*part).flatten(1) for part in zip(maps, seen, strict=True)]
            ratios = [
                torch.stack([own[:, 1] / width, own[:, 0] / height], dim=1)
                for own, (height, width) in zip(seen, shapes, strict=True)
            ]
            memory = memory._replace(
                hidden=~torch.cat(inside, dim=1), ratios=torch.stack(ratios, dim=1)
            )
        centers = torch.cat([cell_centers(*shape, device) for shape in shapes])
        places = memory.places(memory.in_images(centers))
        cells = memory.cells
        layers: Any = self.encoder["layers"]
        for layer in layers:
            cells = layer(cells, positions, places, shapes, memory.hidden)
        return memory._replace(cells=cells)
