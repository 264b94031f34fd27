"""MultiScaleMaskedTransformerDecoder: queries that look only where their last mask was.

N images, Q queries, C channels, K classes, maps of S = H * W cells.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.layers import Conv2d
from d2lite.modeling.transformer import MLP, sine_position_encoding
from d2lite.modeling.weight_init import xavier_fill
from d2lite.utils.errors import ArgumentError
from d2lite.utils.registry import Registry

from .pixel_decoder import NUM_LEVELS

TRANSFORMER_DECODER_REGISTRY = Registry("TRANSFORMER_MODULE")
TRANSFORMER_DECODER_REGISTRY.__doc__ = """
Decoders of queries by name: callables of (cfg, in_channels, mask_classification), chosen by
`MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME`.
"""


def build_transformer_decoder(
    cfg: CfgNode, in_channels: int, mask_classification: bool = True
) -> nn.Module:
    """Make the decoder that `MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME` names.

    Args:
        cfg: the configuration.
        in_channels: of the encoded maps.
        mask_classification: whether queries get classes.
    """
    name = cfg.MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME
    return TRANSFORMER_DECODER_REGISTRY.get(name)(cfg, in_channels, mask_classification)


class AttentionLayer(nn.Module):
    """Attention beside the identity.

    Args:
        name: of the attention within this module, as published weights have it.
        channels: C.
        heads: of the attention.
        pre_norm: norm before the attention instead of after the sum.
    """

    def __init__(self, name: str, channels: int, heads: int, pre_norm: bool) -> None:
        super().__init__()
        attention = nn.MultiheadAttention(channels, heads, batch_first=True)
        nn.init.xavier_uniform_(attention.out_proj.weight)
        self.add_module(name, attention)
        self.name, self.pre_norm = name, pre_norm
        self.norm = nn.LayerNorm(channels)

    def forward(
        self,
        queries: Tensor,
        positions: Tensor,
        keys: Tensor | None = None,
        values: Tensor | None = None,
        hidden: Tensor | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            queries: (N, Q, C).
            positions: (Q, C), added to what asks, and to keys if these are the queries.
            keys: (N, S, C); the queries if None.
            values: (N, S, C); the queries if None.
            hidden: (N * heads, Q, S) bool, True for cells that a query does not see.

        Returns:
            (N, Q, C).
        """
        seen = self.norm(queries) if self.pre_norm else queries
        asking = seen + positions
        attended, _ = self.get_submodule(self.name)(
            asking,
            asking if keys is None else keys,
            seen if values is None else values,
            attn_mask=hidden,
            need_weights=False,
        )
        queries = queries + attended
        return queries if self.pre_norm else self.norm(queries)


class FFNLayer(nn.Module):
    """A perceptron beside the identity.

    Args:
        channels: C.
        hidden: channels in the middle.
        pre_norm: see `AttentionLayer`.
    """

    def __init__(self, channels: int, hidden: int, pre_norm: bool) -> None:
        super().__init__()
        self.linear1 = nn.Linear(channels, hidden)
        self.linear2 = nn.Linear(hidden, channels)
        for layer in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(layer.weight)
        self.pre_norm = pre_norm
        self.norm = nn.LayerNorm(channels)

    def forward(self, queries: Tensor) -> Tensor:
        """(N, Q, C) -> (N, Q, C)."""
        seen = self.norm(queries) if self.pre_norm else queries
        queries = queries + self.linear2(F.relu(self.linear1(seen)))
        return queries if self.pre_norm else self.norm(queries)


@TRANSFORMER_DECODER_REGISTRY.register()
class MultiScaleMaskedTransformerDecoder(nn.Module):
    """Layers of masked attention to the maps in turn, attention among queries and a perceptron.

    Args:
        in_channels: of the encoded maps.
        mask_classification: has to be True: each query gets a class.
        num_classes: K.
        hidden_dim: C.
        num_queries: Q.
        nheads: heads of each attention.
        dim_feedforward: channels in the middle of the perceptrons.
        dec_layers: number of layers.
        pre_norm: see `AttentionLayer`.
        mask_dim: channels of the map that masks are computed from.
        enforce_input_project: convolve the maps even if they have C channels already.

    Source: Cheng 2022, arXiv:2112.01527, section 3.2.
    """

    @configurable
    def __init__(
        self,
        in_channels: int,
        mask_classification: bool = True,
        *,
        num_classes: int,
        hidden_dim: int,
        num_queries: int,
        nheads: int,
        dim_feedforward: int,
        dec_layers: int,
        pre_norm: bool,
        mask_dim: int,
        enforce_input_project: bool,
    ) -> None:
        super().__init__()
        if not mask_classification:
            raise ArgumentError("This decoder gives each query a class: mask_classification=True.")
        self.num_heads, self.num_layers = nheads, dec_layers
        layers = range(dec_layers)
        self.transformer_self_attention_layers = nn.ModuleList(
            AttentionLayer("self_attn", hidden_dim, nheads, pre_norm) for _ in layers
        )
        self.transformer_cross_attention_layers = nn.ModuleList(
            AttentionLayer("multihead_attn", hidden_dim, nheads, pre_norm) for _ in layers
        )
        self.transformer_ffn_layers = nn.ModuleList(
            FFNLayer(hidden_dim, dim_feedforward, pre_norm) for _ in layers
        )
        self.decoder_norm = nn.LayerNorm(hidden_dim)
        self.query_feat = nn.Embedding(num_queries, hidden_dim)
        self.query_embed = nn.Embedding(num_queries, hidden_dim)
        self.level_embed = nn.Embedding(NUM_LEVELS, hidden_dim)
        self.input_proj = nn.ModuleList()
        for _ in range(NUM_LEVELS):
            projection: nn.Module = nn.Identity()
            if in_channels != hidden_dim or enforce_input_project:
                projection = Conv2d(in_channels, hidden_dim, 1)
                xavier_fill(projection)
            self.input_proj.append(projection)
        self.class_embed = nn.Linear(hidden_dim, num_classes + 1)
        self.mask_embed = MLP(hidden_dim, hidden_dim, mask_dim, 3)

    @classmethod
    def from_config(
        cls, cfg: CfgNode, in_channels: int, mask_classification: bool = True
    ) -> dict[str, Any]:
        """Arguments from `MODEL.MASK_FORMER` and `MODEL.SEM_SEG_HEAD`."""
        node = cfg.MODEL.MASK_FORMER
        return {
            "in_channels": in_channels,
            "mask_classification": mask_classification,
            "num_classes": cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
            "hidden_dim": node.HIDDEN_DIM,
            "num_queries": node.NUM_OBJECT_QUERIES,
            "nheads": node.NHEADS,
            "dim_feedforward": node.DIM_FEEDFORWARD,
            # The start values of the queries give a prediction as well, and it is counted.
            "dec_layers": node.DEC_LAYERS - 1,
            "pre_norm": node.PRE_NORM,
            "mask_dim": cfg.MODEL.SEM_SEG_HEAD.MASK_DIM,
            "enforce_input_project": node.ENFORCE_INPUT_PROJ,
        }

    def forward(self, x: Sequence[Tensor], mask_features: Tensor) -> dict[str, Any]:
        """Predict a class and a mask for each query.

        Args:
            x: three (N, in_channels, Hi, Wi) maps.
            mask_features: (N, mask_dim, H, W).

        Returns:
            pred_logits: (N, Q, K + 1), the last one for no object.
            pred_masks: (N, Q, H, W) logits.
            aux_outputs: the same two of the start values and of each layer but the last.
        """
        shapes = [level.shape[-2:] for level in x]
        values, keys = [], []
        for level, project, embedded in zip(
            x, self.input_proj, self.level_embed.weight, strict=True
        ):
            cells = project(level).flatten(2).transpose(1, 2) + embedded
            waves = sine_position_encoding(*level.shape[-2:], cells.shape[-1], level.device)
            values.append(cells)
            keys.append(cells + waves.flatten(1).T)
        queries = self.query_feat.weight.expand(mask_features.shape[0], -1, -1)
        positions = self.query_embed.weight
        predictions = [self._predict(queries, mask_features)]
        layers = zip(
            self.transformer_cross_attention_layers,
            self.transformer_self_attention_layers,
            self.transformer_ffn_layers,
            strict=True,
        )
        for number, (cross, among, perceptron) in enumerate(layers):
            level = number % NUM_LEVELS
            hidden = self._hidden_cells(predictions[-1]["pred_masks"], shapes[level])
            queries = cross(queries, positions, keys[level], values[level], hidden)
            queries = perceptron(among(queries, positions))
            predictions.append(self._predict(queries, mask_features))
        return {**predictions[-1], "aux_outputs": predictions[:-1]}

    def _predict(self, queries: Tensor, mask_features: Tensor) -> dict[str, Tensor]:
        queries = self.decoder_norm(queries)
        masks = torch.einsum("nqc,nchw->nqhw", self.mask_embed(queries), mask_features)
        return {"pred_logits": self.class_embed(queries), "pred_masks": masks}

    def _hidden_cells(self, masks: Tensor, shape: Sequence[int]) -> Tensor:
        """(N * heads, Q, S) bool: cells of a map of this shape that are not in a query's mask."""
        resized = F.interpolate(
            masks.detach(), size=tuple(shape), mode="bilinear", align_corners=False
        )
        hidden = resized.flatten(2).sigmoid() < 0.5
        # A query that would see nothing sees everything.
        hidden &= ~hidden.all(dim=-1, keepdim=True)
        return hidden.repeat_interleave(self.num_heads, dim=0)
