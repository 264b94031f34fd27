"""Blocks of RepVGG convolutions: two branches in training, one convolution in prediction.

N images, maps of H x W cells.

Source: Ding 2021 (RepVGG), arXiv:2101.03697; Zhao 2023 (RT-DETR), arXiv:2304.08069.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.layers import FrozenBatchNorm2d, get_norm
from d2lite.layers.batch_norm import Norm

_ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU}


class ConvNorm(nn.Module):
    """A convolution without bias, a norm and an activation.

    Args:
        in_channels: of the input.
        channels: of the result.
        size: of the kernel, odd; the padding keeps the size of the map at stride 1.
        stride: of the convolution.
        groups: likewise.
        norm: a name or callable for `get_norm`.
        activation: "relu", "silu" or None.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        size: int,
        *,
        stride: int = 1,
        groups: int = 1,
        norm: Norm = "BN",
        activation: str | None = "silu",
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            channels,
            size,
            stride=stride,
            padding=size // 2,
            groups=groups,
            bias=False,
        )
        self.norm = get_norm(norm, channels) or nn.Identity()
        self.act = nn.Identity() if activation is None else _ACTIVATIONS[activation](inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, channels, H / stride, W / stride)."""
        fixed = self.folded()
        if fixed is None:
            return self.act(self.norm(self.conv(x)))
        conv = self.conv
        # A norm that does not change is folded into the convolution, not passed over the map.
        return self.act(
            F.conv2d(x, fixed[0], fixed[1], conv.stride, conv.padding, groups=conv.groups)
        )

    def folded(self) -> tuple[Tensor, Tensor] | None:
        """Weight and bias of the one convolution that this is; None if the norm is not constant."""
        norm: Any = self.norm
        is_batch_norm = isinstance(norm, nn.BatchNorm2d) and not norm.training
        if not is_batch_norm and not isinstance(norm, FrozenBatchNorm2d):
            return None
        factor = norm.weight * (norm.running_var + norm.eps).rsqrt()
        weight = self.conv.weight * factor[:, None, None, None]
        return weight, norm.bias - norm.running_mean * factor


class RepVGGBlock(nn.Module):
    """The sum of a 3 x 3 and a 1 x 1 convolution with norms, and a SiLU.

    Args:
        channels: of the input and the result.
        norm: a name or callable for `get_norm`.
    """

    def __init__(self, channels: int, norm: Norm = "BN") -> None:
        super().__init__()
        self.conv1 = ConvNorm(channels, channels, 3, norm=norm, activation=None)
        self.conv2 = ConvNorm(channels, channels, 1, norm=norm, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> the same shape."""
        large, small = self.conv1.folded(), self.conv2.folded()
        if large is None or small is None:
            return F.silu(self.conv1(x) + self.conv2(x))
        # One pass over the map in place of two convolutions, two norms and a sum.
        weight = large[0] + F.pad(small[0], (1, 1, 1, 1))
        return F.silu(F.conv2d(x, weight, large[1] + small[1], padding=1))


class CSPRepLayer(nn.Module):
    """RepVGG blocks on one projection of a map, plus another projection.

    Args:
        in_channels: of the input.
        channels: of the result.
        repeats: number of blocks.
        expansion: share of `channels` that the blocks have.
        norm: a name or callable for `get_norm`.
    """

    def __init__(
        self, in_channels: int, channels: int, repeats: int, expansion: float, *, norm: Norm = "BN"
    ) -> None:
        super().__init__()
        width = int(channels * expansion)
        self.conv1 = ConvNorm(in_channels, width, 1, norm=norm)
        self.conv2 = ConvNorm(in_channels, width, 1, norm=norm)
        self.bottlenecks = nn.Sequential(*(RepVGGBlock(width, norm) for _ in range(repeats)))
        self.conv3 = nn.Identity() if width == channels else ConvNorm(width, channels, 1, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, channels, H, W)."""
        return self.conv3(self.bottlenecks(self.conv1(x)) + self.conv2(x))


class ELANRepLayer(nn.Module):
    """Two CSP layers in a row, and all maps on the way joined: twice C channels -> C.

    Args:
        channels: C.
        repeats: RepVGG blocks of each CSP layer.
        expansion: share of C / 2 that the CSP layers have.
        norm: a name or callable for `get_norm`.
    """

    def __init__(self, channels: int, repeats: int, expansion: float, *, norm: Norm = "BN") -> None:
        super().__init__()
        inner = round(expansion * channels // 2)
        self.cv1 = ConvNorm(2 * channels, 2 * channels, 1, norm=norm)
        for name, before in (("cv2", channels), ("cv3", inner)):
            csp = CSPRepLayer(before, inner, repeats, 1.0, norm=norm)
            self.add_module(name, nn.Sequential(csp, ConvNorm(inner, inner, 3, norm=norm)))
        self.cv4 = ConvNorm(2 * channels + 2 * inner, channels, 1, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 2 C, H, W) -> (N, C, H, W)."""
        first = self.cv1(x)
        second = self.get_submodule("cv2")(first.chunk(2, dim=1)[1])
        third = self.get_submodule("cv3")(second)
        return self.cv4(torch.cat([first, second, third], dim=1))


class SeparateDownsample(nn.Module):
    """Half the size: a 1 x 1 convolution, then a strided one of each channel alone.

    Args:
        channels: of the input and the result.
        norm: a name or callable for `get_norm`.
    """

    def __init__(self, channels: int, norm: Norm = "BN") -> None:
        super().__init__()
        self.cv1 = ConvNorm(channels, channels, 1, norm=norm, activation=None)
        self.cv2 = ConvNorm(
            channels, channels, 3, stride=2, groups=channels, norm=norm, activation=None
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, channels, H / 2, W / 2)."""
        return self.cv2(self.cv1(x))
