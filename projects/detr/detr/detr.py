"""Detr: attention of all cells to each other, and of queries to all cells.

N images, L decoder layers, Q queries, S cells, C channels, K classes.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.modeling import META_ARCH_REGISTRY, Backbone
from d2lite.modeling.meta_arch.query_detector import QueryDetector
from d2lite.modeling.padded import inside_sizes
from d2lite.modeling.transformer import (
    MLP,
    Decoded,
    EncoderLayer,
    Predictions,
    Targets,
    aux_endings,
    sine_position_encoding,
    visible_cells,
)
from d2lite.structures import ImageList
from d2lite.utils.tracing import at_most

from .config import detector_arguments
from .published import follow_published_config


class CrossLayer(nn.Module):
    """Attention among queries, attention to cells, a perceptron; norms after each.

    Args:
        channels: C.
        heads: of both attentions.
        hidden: channels in the middle of the perceptron.
        dropout: rate.
    """

    def __init__(self, channels: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(channels, heads, dropout, batch_first=True)
        self.multihead_attn = nn.MultiheadAttention(channels, heads, dropout, batch_first=True)
        self.linear1 = nn.Linear(channels, hidden)
        self.linear2 = nn.Linear(hidden, channels)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.norm3 = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        queries: Tensor,
        positions: Tensor,
        keys: Tensor,
        values: Tensor,
        hidden: Tensor | None,
    ) -> Tensor:
        """Compute the layer.

        Args:
            queries: (N, Q, C).
            positions: (Q, C), added to what asks and is asked.
            keys: (N, S, C), cells with their position encodings.
            values: (N, S, C), cells.
            hidden: (N, S) bool, True for cells that none sees; None if there are none.
        """
        asking = queries + positions
        among, _ = self.self_attn(asking, asking, queries, need_weights=False)
        queries = self.norm1(queries + self.dropout(among))
        found, _ = self.multihead_attn(
            queries + positions, keys, values, key_padding_mask=hidden, need_weights=False
        )
        queries = self.norm2(queries + self.dropout(found))
        inner = self.dropout(F.relu(self.linear1(queries)))
        return self.norm3(queries + self.dropout(self.linear2(inner)))


class Transformer(nn.Module):
    """The encoder and the decoder of DETR.

    Args:
        channels: C.
        heads: of each attention.
        hidden: channels in the middle of the perceptrons.
        encoder_layers: how many.
        decoder_layers: L.
        dropout: rate.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        hidden: int,
        encoder_layers: int,
        decoder_layers: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict(
            {
                "layers": nn.ModuleList(
                    EncoderLayer(channels, heads, hidden, dropout, F.relu)
                    for _ in range(encoder_layers)
                )
            }
        )
        self.decoder = nn.ModuleDict(
            {
                "layers": nn.ModuleList(
                    CrossLayer(channels, heads, hidden, dropout) for _ in range(decoder_layers)
                ),
                "norm": nn.LayerNorm(channels),
            }
        )
        for value in self.parameters():
            if value.dim() > 1:
                nn.init.xavier_uniform_(value)

    def forward(
        self, cells: Tensor, waves: Tensor, positions: Tensor, hidden: Tensor | None, first: int
    ) -> Tensor:
        """Encode cells and decode queries.

        Args:
            cells: (N, S, C).
            waves: (S, C) or (N, S, C), the position encodings.
            positions: (Q, C), learned for each query.
            hidden: (N, S) bool, True for cells of the padding.
            first: decoder layer from which on the states are wanted.

        Returns:
            (L - first, N, Q, C) states of the queries after layers.
        """
        encoders: Any = self.encoder["layers"]
        for layer in encoders:
            cells = layer(cells, waves, hidden)
        keys = cells + waves
        queries = cells.new_zeros(cells.shape[0], *positions.shape)
        states = []
        decoders: Any = self.decoder["layers"]
        for number, layer in enumerate(decoders):
            queries = layer(queries, positions, keys, cells, hidden)
            if number >= first:
                states.append(self.decoder["norm"](queries))
        return torch.stack(states)


@META_ARCH_REGISTRY.register()
class Detr(QueryDetector):
    """Boxes of queries that look at all cells of the coarsest map.

    Args:
        backbone: see `Detector`.
        transformer: the encoder and the decoder.
        channels: C.
        num_classes: K.
        num_queries: Q.
        in_features: the map of the backbone that is used is the last of these.
        temperature: see `sine_position_encoding`.
        offset: likewise.
        deep_supervision: losses of all layers, not of the last alone.
        **others: see `QueryDetector`.

    Source: Carion 2020, arXiv:2005.12872.
    """

    has_boxes_of_images = True

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        transformer: Transformer,
        channels: int,
        num_classes: int,
        num_queries: int,
        in_features: Sequence[str],
        temperature: float,
        offset: float,
        deep_supervision: bool,
        **others: Any,
    ) -> None:
        super().__init__(backbone=backbone, **others)
        self.in_feature = in_features[-1]
        self.waves = partial(sine_position_encoding, temperature=temperature, offset=offset)
        self.deep_supervision = deep_supervision
        self.transformer = transformer
        self.input_proj = nn.Conv2d(backbone.output_shape()[self.in_feature].channels, channels, 1)
        self.query_embed = nn.Embedding(num_queries, channels)
        self.class_embed = nn.Linear(channels, num_classes + 1)
        self.bbox_embed = MLP(channels, channels, 4, 3)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL` and `TEST`."""
        follow_published_config(cfg)
        node = cfg.MODEL.DETR
        return {
            **detector_arguments(cfg, is_softmax=True),
            "channels": node.HIDDEN_DIM,
            "transformer": Transformer(
                node.HIDDEN_DIM,
                node.NHEADS,
                node.DIM_FEEDFORWARD,
                node.ENC_LAYERS,
                node.DEC_LAYERS,
                node.DROPOUT,
            ),
        }

    def decode(self, images: ImageList, targets: Targets | None = None) -> Decoded:
        """Predict; see `QueryDetector`."""
        level = self.backbone(images.tensor)[self.in_feature]
        shape = (level.shape[-2], level.shape[-1])
        if torch.compiler.is_exporting():
            # Attention has another form for one cell.
            torch._check(shape[0] * shape[1] != 1)
        visible = visible_cells(images, shape)
        cells = self.input_proj(level).flatten(2).transpose(1, 2)
        waves = self.waves(*shape, cells.shape[2], cells.device, visible=visible)
        decoders: Any = self.transformer.decoder["layers"]
        is_deep = targets is not None and self.deep_supervision
        states = self.transformer(
            cells,
            waves.flatten(-2).mT.to(cells.dtype),
            self.query_embed.weight,
            None if visible is None else ~inside_sizes(level, visible).flatten(1),
            0 if is_deep else len(decoders) - 1,
        )
        boxes = self.bbox_embed(states).float().sigmoid()
        return Decoded(Predictions(aux_endings(len(states)), self.class_embed(states), boxes))

    def best_queries(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The best class of each query, those of the best score first; see `QueryDetector`."""
        scores, classes = logits.float().softmax(dim=-1)[..., :-1].max(dim=-1)
        best, queries = scores.topk(at_most(self.test_topk_per_image, scores.shape[1]), dim=1)
        return best, classes.gather(1, queries), queries
