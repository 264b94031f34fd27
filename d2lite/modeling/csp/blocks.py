"""Separable convolutions, and layers of two branches made of convolutions.

N images, maps of H x W cells.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.layers import ConvStep
from d2lite.layers.batch_norm import Norm


class SeparableConv(nn.Module):
    """A convolution of each channel alone, then one of 1 x 1."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        size: int,
        *,
        norm: Norm,
        stride: int = 1,
        activation: Callable[[Tensor], Tensor] = F.silu,
    ) -> None:
        super().__init__()
        step = partial(ConvStep, norm=norm, activation=activation)
        self.depthwise_conv = step(
            in_channels, in_channels, size, stride=stride, groups=in_channels
        )
        self.pointwise_conv = step(in_channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, channels, H / stride, W / stride)."""
        return self.pointwise_conv(self.depthwise_conv(x))


class ResidualPair(nn.Module):
    """Two layers, with a shortcut around them or without.

    Args:
        conv1: any layer that keeps the size of its map.
        conv2: likewise; the result has the shape of the input.
        has_shortcut: whether the input is added.
    """

    def __init__(self, conv1: nn.Module, conv2: nn.Module, *, has_shortcut: bool) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv1, conv2
        self.has_shortcut = has_shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        y = self.conv2(self.conv1(x))
        return x + y if self.has_shortcut else y


def next_block(channels: int, *, has_shortcut: bool, norm: Norm) -> ResidualPair:
    """A 3 x 3 convolution, then a separable one of 5 x 5 cells: the block of CSPNeXt."""
    return ResidualPair(
        ConvStep(channels, channels, 3, norm=norm),
        SeparableConv(channels, channels, 5, norm=norm),
        has_shortcut=has_shortcut,
    )


class ChannelAttention(nn.Module):
    """Weigh each channel by what the means of all channels say."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> the same shape."""
        # In float32, since the sum over a large map may pass the range of float16.
        means = x.float().mean(dim=(2, 3), keepdim=True).to(x.dtype)
        return x * F.hardsigmoid(self.fc(means))


class CSPLayer(nn.Module):
    """Half of the channels go through the blocks, half around them; both are joined.

    Args:
        in_channels: of the input.
        channels: of the result.
        num_blocks: how many.
        block: makes one for a number of channels.
        norm: see `get_norm`.
        has_attention: weigh the joined channels, as in Lyu 2022, arXiv:2212.07784.

    Source: Wang 2019, arXiv:1911.11929.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        num_blocks: int,
        block: Callable[[int], nn.Module],
        *,
        norm: Norm,
        has_attention: bool = False,
    ) -> None:
        super().__init__()
        half = channels // 2
        self.main_conv = ConvStep(in_channels, half, norm=norm)
        self.short_conv = ConvStep(in_channels, half, norm=norm)
        self.final_conv = ConvStep(2 * half, channels, norm=norm)
        self.blocks = nn.Sequential(*(block(half) for _ in range(num_blocks)))
        self.attention = ChannelAttention(2 * half) if has_attention else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, channels, H, W)."""
        both = torch.cat([self.blocks(self.main_conv(x)), self.short_conv(x)], dim=1)
        return self.final_conv(self.attention(both))
