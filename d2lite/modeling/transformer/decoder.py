"""Decoder layers of queries with boxes: attention among queries, around boxes, and a perceptron.

N images, Q queries, C channels, maps of S cells in all.
"""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..weight_init import zero_fill
from .box_attention import BoxAttention
from .deformable_attention import MultiScaleDeformableAttention


class MLP(nn.Module):
    """Linear layers with ReLUs between them.

    Args:
        input_dim: channels of the input.
        hidden_dim: channels between layers.
        output_dim: channels of the result.
        num_layers: 1 or more.
    """

    def __init__(self, input_dim: int, hidden_dim: int, output_dim: int, num_layers: int) -> None:
        super().__init__()
        widths = [input_dim, *[hidden_dim] * (num_layers - 1), output_dim]
        self.layers = nn.ModuleList(
            nn.Linear(before, after) for before, after in itertools.pairwise(widths)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(..., input_dim) -> (..., output_dim)."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class Gate(nn.Module):
    """A norm over two inputs, of which a layer decides channel by channel how much of each counts.

    Args:
        channels: C.

    Source: Peng 2024 (D-FINE), arXiv:2410.13842, appendix.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Linear(2 * channels, 2 * channels)
        self.norm = nn.LayerNorm(channels)
        # Both count one half at the start.
        zero_fill(self.gate)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Two (..., C) -> (..., C)."""
        both = torch.cat([first, second], dim=-1)
        counted = self.gate(both).sigmoid() * both
        return self.norm(counted.unflatten(-1, (2, -1)).sum(dim=-2))


class DecoderLayer(nn.Module):
    """Attention among queries, deformable attention around their boxes, a perceptron; norms after.

    Args:
        channels: C.
        heads: of both attentions.
        hidden: channels in the middle of the perceptron.
        attention: around boxes or places, of as many channels.
        is_gated: a `Gate` takes the place of the second norm.
        dropout: rate, also of the shares of the attention among queries.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        hidden: int,
        attention: BoxAttention | MultiScaleDeformableAttention,
        *,
        is_gated: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.self_attn = nn.MultiheadAttention(channels, heads, dropout, batch_first=True)
        self.norm1 = nn.LayerNorm(channels)
        self.cross_attn = attention
        if is_gated:
            self.gateway: Gate | None = Gate(channels)
        else:
            self.gateway = None
            self.norm2 = nn.LayerNorm(channels)
        self.linear1 = nn.Linear(channels, hidden)
        self.linear2 = nn.Linear(hidden, channels)
        self.norm3 = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)
        for layer in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(layer.weight)

    def forward(
        self,
        queries: Tensor,
        positions: Tensor,
        boxes: Tensor,
        maps: Tensor,
        shapes: Sequence[tuple[int, int]],
        hidden: Tensor | None = None,
        padding: Tensor | None = None,
    ) -> Tensor:
        """Compute the layer.

        Args:
            queries: (N, Q, C).
            positions: (N, Q, C), added to what asks and is asked.
            boxes: (N, Q, 4) float32 (cx, cy, w, h) in shares of the image, or what else the
                attention takes.
            maps: (N, S, C), the cells of the maps one after the other.
            shapes: (height, width) of each map.
            hidden: (N, Q, Q) bool, True where a query (row) does not see another (column).
            padding: (N, S) bool, see `MultiScaleDeformableAttention`; None for `BoxAttention`.

        Returns:
            (N, Q, C).
        """
        asking = queries + positions
        if hidden is not None:
            hidden = hidden.repeat_interleave(self.heads, dim=0)
        among, _ = self.self_attn(asking, asking, queries, attn_mask=hidden, need_weights=False)
        queries = self.norm1(queries + self.dropout(among))
        more = () if padding is None else (padding,)
        around = self.dropout(self.cross_attn(queries + positions, boxes, maps, shapes, *more))
        if self.gateway is None:
            queries = self.norm2(queries + around)
        else:
            queries = self.gateway(queries, around)
        inner = self.dropout(F.relu(self.linear1(queries)))
        total = queries + self.dropout(self.linear2(inner))
        if self.gateway is not None:
            # The sum can be beyond half precision; published weights were trained with this limit.
            total = total.clamp(min=-65504, max=65504)
        return self.norm3(total)
