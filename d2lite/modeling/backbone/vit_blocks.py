"""What a ViT for detection is made of: attention, its block, and the convolutional residual block.

N images or windows, H x W cells, D channels.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.layers import CNNBlockBase, Conv2d, get_norm
from d2lite.layers.batch_norm import Norm
from d2lite.utils.errors import ArgumentError

from ..weight_init import msra_fill, zero_fill
from .transformer_layers import DropPath, Mlp
from .utils import decomposed_rel_pos, window_partition, window_unpartition


def make_rel_pos(length: int, dim: int, *, zero: bool) -> nn.Parameter:
    """A (length, dim) table of relative positions, zero or of small normal values."""
    table = nn.Parameter(torch.zeros(length, dim))
    if not zero:
        nn.init.trunc_normal_(table, std=0.02)
    return table


class Attention(nn.Module):
    """Self-attention over the cells of a map, several heads, relative positions if wanted.

    Args:
        dim: channels, a multiple of `num_heads`.
        num_heads: number of heads.
        qkv_bias: give queries, keys and values a bias.
        use_rel_pos: add a term of the relative positions to the scores.
        rel_pos_zero_init: start these at zero.
        input_size: height and width that the tables of relative positions are made for.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        qkv_bias: bool = True,
        use_rel_pos: bool = False,
        rel_pos_zero_init: bool = True,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise ArgumentError(f"{dim} channels do not divide over {num_heads} heads.")
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.use_rel_pos = use_rel_pos
        if use_rel_pos:
            if input_size is None:
                raise ArgumentError("use_rel_pos=True needs input_size, (height, width) in cells.")
            self.rel_pos_h, self.rel_pos_w = (
                make_rel_pos(2 * side - 1, dim // num_heads, zero=rel_pos_zero_init)
                for side in input_size
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, D) -> the same shape."""
        images, height, width, dim = x.shape
        split = self.qkv(x).view(images, height * width, 3, self.num_heads, dim // self.num_heads)
        q, k, v = split.permute(2, 0, 3, 1, 4).unbind(0)
        bias = None
        if self.use_rel_pos:
            size = (height, width)
            bias = decomposed_rel_pos(
                q.flatten(0, 1), self.rel_pos_h, self.rel_pos_w, size, size
            ).unflatten(0, q.shape[:2])
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(out.transpose(1, 2).reshape(images, height, width, dim))


class ResBottleneckBlock(CNNBlockBase):
    """1 x 1, 3 x 3 and 1 x 1 convolutions beside the identity, which starts as the identity.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output, the same number.
        bottleneck_channels: channels of the 3 x 3 convolution.
        norm: a name or callable for `get_norm`.
        act_layer: makes the activations.
    """

    conv1: Any
    norm1: Any
    act1: Any
    conv2: Any
    norm2: Any
    act2: Any
    conv3: Any
    norm3: Any

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        bottleneck_channels: int,
        norm: Norm = "LN",
        act_layer: Callable[[], nn.Module] = nn.GELU,
    ) -> None:
        super().__init__(in_channels, out_channels, 1)
        widths = (in_channels, bottleneck_channels, bottleneck_channels, out_channels)
        for i, size in enumerate((1, 3, 1), start=1):
            before, after = widths[i - 1 : i + 1]
            conv = Conv2d(before, after, size, padding=size // 2, bias=False)
            self.add_module(f"conv{i}", conv)
            self.add_module(f"norm{i}", get_norm(norm, after))
            if i < 3:
                self.add_module(f"act{i}", act_layer())
        for conv in (self.conv1, self.conv2, self.conv3):
            msra_fill(conv)
        # The block must not change what a pretrained network computes.
        zero_fill(self.norm3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D, H, W) -> the same shape."""
        inner = self.act1(self.norm1(self.conv1(x)))
        inner = self.act2(self.norm2(self.conv2(inner)))
        return x + self.norm3(self.conv3(inner))


class Block(nn.Module):
    """Attention, in windows if wanted, then a perceptron, each beside the identity.

    Args:
        dim: channels.
        num_heads: heads of the attention.
        mlp_ratio: channels in the middle of the perceptron, over `dim`.
        qkv_bias: as in `Attention`.
        drop_path: rate of dropped branches.
        norm_layer: makes a norm from a number of channels.
        act_layer: makes the activation.
        use_rel_pos: as in `Attention`.
        rel_pos_zero_init: as in `Attention`.
        window_size: side of the windows in cells; 0 attends to the whole map.
        use_residual_block: add a `ResBottleneckBlock` at the end.
        input_size: height and width of the map in cells, for relative positions.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path: float = 0.0,
        norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
        act_layer: Callable[[], nn.Module] = nn.GELU,
        use_rel_pos: bool = False,
        rel_pos_zero_init: bool = True,
        window_size: int = 0,
        use_residual_block: bool = False,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.norm1 = norm_layer(dim)
        self.attn = Attention(
            dim,
            num_heads=num_heads,
            qkv_bias=qkv_bias,
            use_rel_pos=use_rel_pos,
            rel_pos_zero_init=rel_pos_zero_init,
            input_size=(window_size, window_size) if window_size else input_size,
        )
        self.drop_path = DropPath(drop_path)
        self.norm2 = norm_layer(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), act_layer=act_layer)
        self.residual: nn.Module | None = None
        if use_residual_block:
            self.residual = ResBottleneckBlock(dim, dim, dim // 2, act_layer=act_layer)

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, D) -> the same shape."""
        x = x + self.drop_path(self._attend(self.norm1(x)))
        x = x + self.drop_path(self.mlp(self.norm2(x)))
        if self.residual is not None:
            x = self.residual(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x

    def _attend(self, x: Tensor) -> Tensor:
        if not self.window_size:
            return self.attn(x)
        windows, padded = window_partition(x, self.window_size)
        return window_unpartition(self.attn(windows), self.window_size, padded, x.shape[1:3])
