"""Attention in the windows of a Swin transformer, shifted or not.

N images, H x W cells, D channels; windows of P = Wh * Ww cells.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.utils.errors import ArgumentError

from .utils import window_partition as padded_windows
from .utils import window_unpartition

# Far below any score, and within the range of half precision.
_FORBIDDEN = -100.0


def window_partition(x: Tensor, window_size: int) -> Tensor:
    """Cut a map into windows that fill it.

    Args:
        x: (N, H, W, D); H and W multiples of `window_size`.
        window_size: side of a window, in cells.

    Returns:
        (N * windows, window_size, window_size, D).
    """
    return padded_windows(x, window_size)[0]


def window_reverse(windows: Tensor, window_size: int, H: int, W: int) -> Tensor:  # noqa: N803
    """Undo `window_partition`; the names of the arguments are detectron2's.

    Args:
        windows: (N * windows, window_size, window_size, D).
        window_size: side of a window, in cells.
        H: height of the map.
        W: width of the map.

    Returns:
        (N, H, W, D).
    """
    return window_unpartition(windows, window_size, (H, W), (H, W))


def shifted_window_mask(
    height: int, width: int, window_size: int, shift_size: int, device: torch.device | None = None
) -> Tensor:
    """What to add to scores so that cells which the shift made neighbours ignore each other.

    Args:
        height: of the map before padding, in cells.
        width: likewise.
        window_size: side of a window, in cells.
        shift_size: by how many cells the map is rolled, more than 0.
        device: of the result.

    Returns:
        (windows, P, P): 0 within a region of the map, -100 across.
    """
    regions = []
    for side in (height, width):
        padded = -(-side // window_size) * window_size
        at = torch.arange(padded, device=device)
        regions.append((at >= padded - window_size).int() + (at >= padded - shift_size).int())
    grid = 3 * regions[0][:, None] + regions[1]
    cells = window_partition(grid[None, :, :, None], window_size).flatten(1)
    return (cells[:, :, None] != cells[:, None, :]) * _FORBIDDEN


class WindowAttention(nn.Module):
    """Self-attention within windows, with a learned bias for each relative position and head.

    Args:
        dim: channels.
        window_size: height and width of a window.
        num_heads: number of heads.
        qkv_bias: give queries, keys and values a bias.
        qk_scale: factor of the scores; one over the root of the channels of a head when left out.
        attn_drop: dropout of the attention weights.
        proj_drop: dropout of the result.
    """

    relative_position_index: Tensor

    def __init__(
        self,
        dim: int,
        window_size: Sequence[int],
        num_heads: int,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise ArgumentError(f"{dim} channels do not divide over {num_heads} heads.")
        self.window_size = tuple(window_size)
        self.num_heads = num_heads
        self.scale = qk_scale or (dim // num_heads) ** -0.5
        rows, columns = self.window_size
        distances = (2 * rows - 1) * (2 * columns - 1)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(distances, num_heads))
        self.register_buffer("relative_position_index", _relative_index(rows, columns))
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.attn_drop = attn_drop
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            x: (N * windows, P, D), the windows of an image one after the other.
            mask: (windows, P, P), added to the scores.

        Returns:
            (N * windows, P, D).
        """
        count, cells, dim = x.shape
        split = self.qkv(x).view(count, cells, 3, self.num_heads, dim // self.num_heads)
        q, k, v = split.permute(2, 0, 3, 1, 4).unbind(0)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        bias = bias[None].to(q.dtype)
        if mask is not None:
            bias = (bias + mask[:, None].to(q.dtype)).repeat(count // mask.shape[0], 1, 1, 1)
        out = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=bias,
            dropout_p=self.attn_drop if self.training else 0.0,
            scale=self.scale,
        )
        return self.proj_drop(self.proj(out.transpose(1, 2).reshape(count, cells, dim)))


def _relative_index(rows: int, columns: int) -> Tensor:
    """(P, P) int64: the row of the table that is the bias of a pair of cells."""
    row = torch.arange(rows).repeat_interleave(columns)
    column = torch.arange(columns).repeat(rows)
    down = row[:, None] - row + rows - 1
    right = column[:, None] - column + columns - 1
    return down * (2 * columns - 1) + right
