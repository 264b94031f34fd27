"""A layer of deformable attention of all cells of some maps to each other.

N images, C channels, L maps of S cells in all.

Source: Zhu 2020 (Deformable DETR), arXiv:2010.04159, section 4.1.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .deformable_attention import MultiScaleDeformableAttention


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
