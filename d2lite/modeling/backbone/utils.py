"""Windows, positions and patches of transformer backbones.

N images, H x W cells, D channels; Q = Qh * Qw queries and K = Kh * Kw keys, B = N * heads.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.utils.errors import ArgumentError

__all__ = [
    "PatchEmbed",
    "add_decomposed_rel_pos",
    "decomposed_rel_pos",
    "get_abs_pos",
    "get_rel_pos",
    "make_abs_pos",
    "window_partition",
    "window_unpartition",
]


def window_partition(x: Tensor, window_size: int) -> tuple[Tensor, tuple[int, int]]:
    """Cut a map into square windows, after padding it with zeros at the bottom and the right.

    Args:
        x: (N, H, W, D).
        window_size: side of a window, in cells.

    Returns:
        (N * windows, window_size, window_size, D), row by row within an image, and the height
        and width after padding.
    """
    height, width = x.shape[1:3]
    padded = F.pad(x, (0, 0, 0, -width % window_size, 0, -height % window_size))
    tiles = padded.unflatten(2, (-1, window_size)).unflatten(1, (-1, window_size))
    return tiles.transpose(2, 3).flatten(0, 2), (padded.shape[1], padded.shape[2])


def window_unpartition(
    windows: Tensor, window_size: int, pad_hw: Sequence[int], hw: Sequence[int]
) -> Tensor:
    """Put the windows of `window_partition` together again and cut the padding off.

    Args:
        windows: (N * windows, window_size, window_size, D).
        window_size: side of a window, in cells.
        pad_hw: height and width with padding.
        hw: height and width without.

    Returns:
        (N, H, W, D).
    """
    rows, columns = (side // window_size for side in pad_hw)
    images = windows.shape[0] // (rows * columns)
    tiles = windows.unflatten(0, (images, rows, columns))
    whole = tiles.transpose(2, 3).flatten(3, 4).flatten(1, 2)
    return whole[:, : hw[0], : hw[1]].contiguous()


def get_rel_pos(q_size: int, k_size: int, rel_pos: Tensor) -> Tensor:
    """The vectors for the distances between queries and keys along one axis.

    Args:
        q_size: number of queries.
        k_size: number of keys; both cover the same length.
        rel_pos: (L, D), a vector a distance, from the most negative one. A table made for another
            size is stretched.

    Returns:
        (q_size, k_size, D).
    """
    longer = max(q_size, k_size)
    if rel_pos.shape[0] != 2 * longer - 1:
        rel_pos = F.interpolate(rel_pos.T[None], size=2 * longer - 1, mode="linear")[0].T
    at_q, at_k = (
        torch.arange(size, device=rel_pos.device) * (longer / size) for size in (q_size, k_size)
    )
    # Counted from the distance of the first query to the last key.
    distance = at_q[:, None] - at_k + (k_size - 1) * (longer / k_size)
    return rel_pos[distance.long()]


def decomposed_rel_pos(
    q: Tensor,
    rel_pos_h: Tensor,
    rel_pos_w: Tensor,
    q_size: Sequence[int],
    k_size: Sequence[int],
) -> Tensor:
    """What relative positions add to attention scores: a term by rows plus one by columns.

    Args:
        q: (B, Q, D) queries, not scaled.
        rel_pos_h: (Lh, D) vectors of vertical distances.
        rel_pos_w: (Lw, D) vectors of horizontal distances.
        q_size: (Qh, Qw).
        k_size: (Kh, Kw).

    Returns:
        (B, Q, K).

    Source: Li 2021, arXiv:2112.01526, section 4.1.
    """
    by_row = get_rel_pos(q_size[0], k_size[0], rel_pos_h).transpose(1, 2)
    by_column = get_rel_pos(q_size[1], k_size[1], rel_pos_w).transpose(1, 2)
    grid = q.unflatten(1, tuple(q_size))
    rows = grid @ by_row
    columns = (grid.transpose(1, 2) @ by_column).transpose(1, 2)
    return (rows[..., :, None] + columns[..., None, :]).flatten(3).flatten(1, 2)


def add_decomposed_rel_pos(
    attn: Tensor,
    q: Tensor,
    rel_pos_h: Tensor,
    rel_pos_w: Tensor,
    q_size: Sequence[int],
    k_size: Sequence[int],
) -> Tensor:
    """Attention scores with the term of `decomposed_rel_pos` added.

    Args:
        attn: (B, Q, K) scores.
        q: see `decomposed_rel_pos`, as for the rest.
        rel_pos_h: see there.
        rel_pos_w: see there.
        q_size: see there.
        k_size: see there.

    Returns:
        (B, Q, K).
    """
    return attn + decomposed_rel_pos(q, rel_pos_h, rel_pos_w, q_size, k_size)


def make_abs_pos(length: int, dim: int) -> nn.Parameter:
    """(1, length, dim) learned positions, zero until the whole network is made."""
    return nn.Parameter(torch.zeros(1, length, dim))


def get_abs_pos(abs_pos: Tensor, has_cls_token: bool, hw: Sequence[int]) -> Tensor:
    """Learned positions for a map of another size than the one they were learned for.

    Args:
        abs_pos: (1, L, D), a square of positions row by row, after that of the class token if
            there is one.
        has_cls_token: leave out the first position.
        hw: wanted height and width.

    Returns:
        (1, H, W, D).

    Raises:
        ArgumentError: if the positions are not a square.
    """
    cells = abs_pos[:, 1:] if has_cls_token else abs_pos
    side = math.isqrt(cells.shape[1])
    if side * side != cells.shape[1]:
        raise ArgumentError(
            f"{cells.shape[1]} positions are not a square. Does pretrain_use_cls_token "
            f"({has_cls_token}) fit the weights?"
        )
    grid = cells.unflatten(1, (side, side))
    if tuple(hw) == (side, side):
        return grid
    resized = F.interpolate(grid.permute(0, 3, 1, 2), size=tuple(hw), mode="bicubic")
    return resized.permute(0, 2, 3, 1)


class PatchEmbed(nn.Module):
    """Patches of the image as vectors, by one strided convolution.

    Args:
        kernel_size: of the convolution.
        stride: of the convolution.
        padding: of the convolution.
        in_chans: channels of the image.
        embed_dim: channels of the result.
    """

    def __init__(
        self,
        kernel_size: tuple[int, int] = (16, 16),
        stride: tuple[int, int] = (16, 16),
        padding: tuple[int, int] = (0, 0),
        in_chans: int = 3,
        embed_dim: int = 768,
    ) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, embed_dim, kernel_size, stride=stride, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_chans, H, W) -> (N, H / stride, W / stride, embed_dim)."""
        return self.proj(x).permute(0, 2, 3, 1)
