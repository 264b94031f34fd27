"""DeformableTransformer: layers of deformable attention over several maps, and for queries.

N images, L maps, Q queries, C channels.
"""

from typing import Any

from torch import Tensor, nn

from d2lite.modeling.transformer import (
    DecoderLayer,
    DeformableEncoder,
    Memory,
    MultiScaleDeformableAttention,
)


class DeformableTransformer(DeformableEncoder):
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
        super().__init__(
            channels,
            levels,
            encoder_layers,
            hidden=hidden,
            dropout=dropout,
            heads=heads,
            points=encoder_points,
            temperature=temperature,
            offset=offset,
        )
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
        self.decoder = nn.ModuleDict({"layers": nn.ModuleList(decoders)})
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
            memory: the encoded maps.
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
