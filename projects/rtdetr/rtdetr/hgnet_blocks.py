"""What HGNetv2 is made of: the stem, and stages of blocks that join the maps of all their layers.

N images, maps of H x W cells.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.layers import get_norm
from d2lite.layers.batch_norm import Norm
from d2lite.modeling.weight_init import msra_fill


class Stage(NamedTuple):
    """One stage: channels that come in, of layers, and that go out, and what its blocks are like.

    `is_halved`: it begins by halving the map; `is_light`: layers are a 1 x 1 convolution and one of
    each channel alone.
    """

    in_channels: int
    mid_channels: int
    out_channels: int
    blocks: int
    is_halved: bool
    is_light: bool
    kernel: int
    layers: int


class Affine(nn.Module):
    """A learned factor and a learned shift, one number each."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same."""
        return self.scale * x + self.bias


class ConvStep(nn.Module):
    """A convolution without bias, a norm and, where wanted, a ReLU with an `Affine` after it."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        size: int,
        *,
        stride: int = 1,
        groups: int = 1,
        padding: int | None = None,
        is_active: bool = True,
        has_affine: bool = False,
        norm: Norm = "BN",
    ) -> None:
        super().__init__()
        padding = size // 2 if padding is None else padding
        self.conv = nn.Conv2d(
            in_channels, channels, size, stride, padding, groups=groups, bias=False
        )
        msra_fill(self.conv)
        self.bn = get_norm(norm, channels) or nn.Identity()
        self.is_active = is_active
        self.lab = Affine() if is_active and has_affine else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, channels, H / stride, W / stride)."""
        x = self.bn(self.conv(x))
        return self.lab(F.relu_(x)) if self.is_active else x


class LightStep(nn.Module):
    """A 1 x 1 convolution with a norm, and a convolution of each channel alone."""

    def __init__(
        self, in_channels: int, channels: int, size: int, *, has_affine: bool, norm: Norm
    ) -> None:
        super().__init__()
        self.conv1 = ConvStep(in_channels, channels, 1, is_active=False, norm=norm)
        self.conv2 = ConvStep(
            channels, channels, size, groups=channels, has_affine=has_affine, norm=norm
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, channels, H, W)."""
        return self.conv2(self.conv1(x))


class Stem(nn.Module):
    """The first layers: 4 pixels a cell.

    Args:
        in_channels: channels of the image.
        widths: channels in the middle, and of the result.
        has_affine: see `HGNetV2`.
        norm: likewise.
    """

    def __init__(
        self, in_channels: int, widths: Sequence[int], *, has_affine: bool, norm: Norm
    ) -> None:
        super().__init__()
        middle, last = widths
        options = {"has_affine": has_affine, "norm": norm}
        self.stem1 = ConvStep(in_channels, middle, 3, stride=2, **options)
        self.stem2a = ConvStep(middle, middle // 2, 2, padding=0, **options)
        self.stem2b = ConvStep(middle // 2, middle, 2, padding=0, **options)
        self.stem3 = ConvStep(2 * middle, middle, 3, stride=2, **options)
        self.stem4 = ConvStep(middle, last, 1, **options)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H / 4, W / 4)."""
        x = _padded(self.stem1(x))
        convolved = self.stem2b(_padded(self.stem2a(x)))
        pooled = F.max_pool2d(x, kernel_size=2, stride=1)
        return self.stem4(self.stem3(torch.cat([pooled, convolved], dim=1)))


def _padded(x: Tensor) -> Tensor:
    """One row and column of zeros at the end, so that 2 x 2 kernels keep the size."""
    return F.pad(x, (0, 1, 0, 1))


class Block(nn.Module):
    """Layers one after the other, of whose maps and the input two convolutions make the result.

    Args:
        stage: what it is like; its `in_channels` are those of the block.
        is_residual: add the input.
        has_affine: see `HGNetV2`.
        norm: likewise.
    """

    def __init__(self, stage: Stage, *, is_residual: bool, has_affine: bool, norm: Norm) -> None:
        super().__init__()
        self.is_residual = is_residual
        kind = LightStep if stage.is_light else ConvStep
        options = {"has_affine": has_affine, "norm": norm}
        widths = [stage.in_channels, *[stage.mid_channels] * stage.layers]
        self.layers = nn.ModuleList(
            kind(before, stage.mid_channels, stage.kernel, **options) for before in widths[:-1]
        )
        half = stage.out_channels // 2
        self.aggregation = nn.Sequential(
            ConvStep(sum(widths), half, 1, **options),
            ConvStep(half, stage.out_channels, 1, **options),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H, W)."""
        maps = [x]
        for layer in self.layers:
            maps.append(layer(maps[-1]))
        joined = self.aggregation(torch.cat(maps, dim=1))
        return joined + x if self.is_residual else joined


class StageOfBlocks(nn.Module):
    """A convolution that halves the map, where wanted, and blocks."""

    def __init__(self, stage: Stage, *, has_affine: bool, norm: Norm) -> None:
        super().__init__()
        own = stage.in_channels
        self.downsample = (
            ConvStep(own, own, 3, stride=2, groups=own, is_active=False, norm=norm)
            if stage.is_halved
            else nn.Identity()
        )
        self.blocks = nn.Sequential(
            *(
                Block(
                    stage if number == 0 else stage._replace(in_channels=stage.out_channels),
                    is_residual=number > 0,
                    has_affine=has_affine,
                    norm=norm,
                )
                for number in range(stage.blocks)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride)."""
        return self.blocks(self.downsample(x))
