"""Building blocks of convolutional networks: a base class, convolutions with norms."""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from .batch_norm import Norm, get_norm
from .frozen_batch_norm import FrozenBatchNorm2d
from .wrappers import Conv2d

__all__ = ["CNNBlockBase", "ConvStep", "DepthwiseSeparableConv2d"]


class CNNBlockBase(nn.Module):
    """A block that says its input channels, output channels and stride, and can be frozen.

    Attributes:
        in_channels: channels of the (N, C, H, W) input.
        out_channels: channels of the output.
        stride: input cells per output cell.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        """Keep the three numbers; a subclass makes the layers."""
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.stride = stride

    def freeze(self) -> "CNNBlockBase":
        """Stop all learning in the block: no gradients, batch norms fixed at their statistics.

        Returns:
            The block itself, changed in place.
        """
        self.requires_grad_(False)
        FrozenBatchNorm2d.convert_frozen_batchnorm(self)
        return self


class ConvStep(nn.Module):
    """A convolution that keeps the size of its map (over the stride), a norm and an activation."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        size: int = 1,
        *,
        norm: Norm,
        stride: int = 1,
        groups: int = 1,
        activation: Callable[[Tensor], Tensor] = F.silu,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.conv = nn.Conv2d(
            in_channels, channels, size, stride, size // 2, groups=groups, bias=norm == ""
        )
        self.bn = get_norm(norm, channels) or nn.Identity()
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, channels, H / stride, W / stride)."""
        return self.activation(self.bn(self.conv(x)))


class DepthwiseSeparableConv2d(nn.Module):
    """A k x k convolution channel by channel, then a 1 x 1 convolution across channels.

    Source: Chollet 2017, arXiv:1610.02357.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        padding: int = 1,
        dilation: int = 1,
        *,
        norm1: str | Callable[[int], nn.Module] | None = None,
        activation1: Callable[[Tensor], Tensor] | None = None,
        norm2: str | Callable[[int], nn.Module] | None = None,
        activation2: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Make both convolutions.

        Args:
            in_channels: channels of the input.
            out_channels: channels of the output.
            kernel_size: of the depthwise convolution.
            padding: of the depthwise convolution.
            dilation: of the depthwise convolution.
            norm1: norm after the depthwise convolution, as for `get_norm`.
            activation1: after norm1.
            norm2: norm after the pointwise convolution.
            activation2: after norm2.
        """
        super().__init__()
        spatial: dict[str, Any] = {"padding": padding, "dilation": dilation}
        self.depthwise = Conv2d(
            in_channels,
            in_channels,
            kernel_size,
            groups=in_channels,
            bias=not norm1,
            norm=get_norm(norm1, in_channels),
            activation=activation1,
            **spatial,
        )
        self.pointwise = Conv2d(
            in_channels,
            out_channels,
            1,
            bias=not norm2,
            norm=get_norm(norm2, out_channels),
            activation=activation2,
        )
        for layer in (self.depthwise, self.pointwise):
            # He initialisation by fan-out, as detection heads use it.
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H', W')."""
        return self.pointwise(self.depthwise(x))
