"""DeformableTransformer: layers of deformable attention over several maps, and for queries.

N images, L maps of S cells in all, Q queries, C channels.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from d2lite.modeling.transformer import (
    DecoderLayer,
    DeformableEncoderLayer,
    MultiScaleDeformableAttention,
    cell_boxes,
    cell_centers,
    usable_cells,
)
from d2lite.structures import ImageList

from .padding import Shape, hidden_cells, position_encoding, visible_cells


class Memory(NamedTuple):
    """Encoded maps.

    Attributes:
        cells: (N, S, C), the cells of the maps one after the other.
        shapes: (height, width) of each map.
        hidden: (N, S) bool, True for cells of the padding; None without padding.
        ratios: (N, L, 2), the shares of the width and the height of each map that an image has;
            None without padding.
    """

    cells: Tensor
    shapes: list[Shape]
    hidden: Tensor | None
    ratios: Tensor | None

    def places(self, reference: Tensor) -> Tensor:
        """(N, Q, 2 or 4) places in shares of an image -> the same in shares of each map."""
        if self.ratios is None:
            return reference
        factors = self.ratios.repeat(1, 1, reference.shape[-1] // 2)
        return reference[:, :, None] * factors[:, None]

    def cell_boxes(self) -> tuple[Tensor, Tensor]:
        """Boxes (N, S, 4) at cells, in shares of an image, and which are usable, (N, S) bool."""
        boxes = cell_boxes(self.shapes, self.cells.device).expand(self.cells.shape[0], -1, -1)
        if self.ratios is not None:
            center = boxes[..., :2] / _of_cells(self.ratios, self.shapes)
            boxes = torch.cat([center, boxes[..., 2:]], dim=-1)
        return boxes, usable_cells(boxes, self.hidden)


class DeformableTransformer(nn.Module):
    """The encoder and the layers of the decoder of Deformable DETR and DINO.

    Args:
        channels: C.
        levels: L.
        heads: of each attention.
        hidden: channels in the middle of the perceptrons.
        encoder_layers: how many.
        decoder_layers: how many.
        encoder_points: places of a cell, head and map.
        decoder_points: places of a query, head and map.
        dropout: rate.
        temperature: see `sine_position_encoding`.
        offset: likewise.

    Source: Zhu 2020, arXiv:2010.04159.
    """

    def __init__(
        self,
        channels: int,
        levels: int,
        *,
        heads: int,
        hidden: int,
        encoder_layers: int,
        decoder_layers: int,
        encoder_points: int,
        decoder_points: int,
        dropout: float,
        temperature: float,
        offset: float,
    ) -> None:
        super().__init__()
        self.waves = {"temperature": temperature, "offset": offset}
        encoders = [
            DeformableEncoderLayer(channels, hidden, dropout, levels, heads, encoder_points)
            for _ in range(encoder_layers)
        ]
        decoders = [
            DecoderLayer(
                channels,
                heads,
                hidden,
                MultiScaleDeformableAttention(channels, levels, heads, decoder_points),
                dropout=dropout,
            )
            for _ in range(decoder_layers)
        ]
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(encoders)})
        self.decoder = nn.ModuleDict({"layers": nn.ModuleList(decoders)})
        self.level_embed = nn.Parameter(torch.empty(levels, channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set start values: Xavier's, but those of deformable attention."""
        for value in self.parameters():
            if value.dim() > 1:
                nn.init.xavier_uniform_(value)
        nn.init.normal_(self.level_embed)
        for module in self.modules():
            if isinstance(module, MultiScaleDeformableAttention):
                module.reset_parameters()

    def encode(self, images: ImageList, maps: Sequence[Tensor]) -> Memory:
        """Let all cells see each other.

        Args:
            images: a padded batch.
            maps: (N, C, Hi, Wi) of it, finest first.
        """
        device, channels = maps[0].device, maps[0].shape[1]
        shapes = [(level.shape[-2], level.shape[-1]) for level in maps]
        cells = torch.cat([level.flatten(2).transpose(1, 2) for level in maps], dim=1)
        visible = [visible_cells(images, shape) for shape in shapes]
        waves = [
            position_encoding(part, shape, channels, device, **self.waves) + embedded
            for part, shape, embedded in zip(visible, shapes, self.level_embed, strict=True)
        ]
        positions = torch.cat(waves, dim=-2).to(cells.dtype)
        places = torch.cat([cell_centers(*shape, device) for shape in shapes])
        memory = Memory(cells, shapes, None, None)
        if visible[0] is not None:
            masks = [hidden_cells(*part) for part in zip(visible, shapes, strict=True)]
            parts = [
                torch.stack([own[:, 1] / shape[1], own[:, 0] / shape[0]], dim=1)  # type: ignore[index]
                for own, shape in zip(visible, shapes, strict=True)
            ]
            ratios = torch.stack(parts, dim=1)
            memory = Memory(cells, shapes, torch.cat(masks, dim=1), ratios)  # type: ignore[arg-type]  # padding is in all maps or in none
            places = memory.places(places / _of_cells(ratios, shapes))
        layers: Any = self.encoder["layers"]
        for layer in layers:
            cells = layer(cells, positions, places, shapes, memory.hidden)
        return memory._replace(cells=cells)

    def decode_layer(
        self,
        number: int,
        queries: Tensor,
        positions: Tensor,
        reference: Tensor,
        memory: Memory,
        hidden: Tensor | None = None,
    ) -> Tensor:
        """(N, Q, C) queries -> the same, after a layer of the decoder.

        Args:
            number: of the layer.
            queries: (N, Q, C).
            positions: (N, Q, C).
            reference: (N, Q, 2) places or (N, Q, 4) boxes of the queries, in shares of the image.
            memory: what `encode` returned.
            hidden: see `DecoderLayer`.
        """
        layers: Any = self.decoder["layers"]
        found: Tensor = layers[number](
            queries,
            positions,
            memory.places(reference),
            memory.cells,
            memory.shapes,
            hidden,
            memory.hidden,
        )
        return found


def _of_cells(ratios: Tensor, shapes: Sequence[Shape]) -> Tensor:
    """(N, L, 2) of maps -> (N, S, 2) of their cells."""
    parts = [
        ratios[:, level, None].expand(-1, height * width, -1)
        for level, (height, width) in enumerate(shapes)
    ]
    return torch.cat(parts, dim=1)
