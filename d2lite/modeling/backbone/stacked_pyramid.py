"""Pyramids whose maps are mixed again and again by equal stages: NAS-FPN and BiFPN.

Maps are named "p3", ... after the logarithm of their stride, fine to coarse.
"""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.layers import ShapeSpec
from d2lite.layers.batch_norm import Norm
from d2lite.utils.errors import ConfigError

from ..weight_init import filled_conv, msra_fill
from .backbone import Backbone, PyramidBackbone

__all__ = ["NASFPN", "BiFPN"]

_NAS_MAPS = 5


_conv = partial(filled_conv, msra_fill)


class StackedPyramid(PyramidBackbone):
    """Maps of one width, the coarsest made by pooling, that stages mix one after the other.

    Args:
        bottom_up: the network below.
        in_features: its maps to use, fine to coarse, each of twice the stride of the one before.
        shapes: of those maps.
        out_channels: of every map.
        num_maps: maps in the end.
        num_stages: how often they are mixed.
        norm: see `get_norm`.

    Raises:
        ConfigError: for less than one stage.
    """

    _stage: ClassVar[type[nn.Module]]

    def __init__(
        self,
        bottom_up: Backbone,
        in_features: Sequence[str],
        shapes: Sequence[ShapeSpec],
        out_channels: int,
        num_maps: int,
        num_stages: int,
        norm: Norm = "",
    ) -> None:
        super().__init__()
        if num_stages < 1:
            raise ConfigError(f"MODEL.FPN.NUM_STAGES={num_stages}: give at least 1.")
        self.bottom_up = bottom_up
        self.in_features = tuple(in_features)
        self.lateral = nn.ModuleList(_conv(s.channels, out_channels, 1, norm) for s in shapes)
        num_above = num_maps - len(shapes)
        self.above = nn.ModuleList(
            _conv(out_channels, out_channels, 1, norm) for _ in range(num_above)
        )
        self.stages = nn.Sequential(
            *(self._stage(num_maps, out_channels, norm) for _ in range(num_stages))
        )
        first = int(shapes[0].stride).bit_length() - 1
        self._name_maps(range(first, first + num_maps), out_channels, None)
        # Of the coarsest map, so that maxima over whole squares of cells fit.
        self._size_divisibility = 2 ** (first + num_maps - 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, C, H, W), multiples of `size_divisibility` -> maps of `out_channels` by name."""
        below = self.bottom_up(x)
        maps = [
            conv(below[name]) for conv, name in zip(self.lateral, self.in_features, strict=True)
        ]
        for conv in self.above:
            maps.append(F.max_pool2d(conv(maps[-1]), 2))
        return dict(zip(self._out_features, self.stages(maps), strict=True))


def _fitted(x: Tensor, like: Tensor) -> Tensor:
    """A map at the size of another: the largest of the cells, or the nearest one."""
    if x.shape[-1] > like.shape[-1]:
        return F.max_pool2d(x, x.shape[-1] // like.shape[-1])
    return F.interpolate(x, size=like.shape[-2:], mode="nearest")


def _gated(x: Tensor, gate: Tensor) -> Tensor:
    """The second map plus the first one, weighed by the means of the second over its cells."""
    return gate + gate.mean(dim=(2, 3), keepdim=True).sigmoid() * x


class _NASStage(nn.Module):
    """The connections that a search found, for five maps."""

    def __init__(self, num_maps: int, channels: int, norm: Norm) -> None:
        super().__init__()
        # The bias is of no use before a norm, but published weights have it.
        self.convs = nn.ModuleList(
            _conv(channels, channels, 3, norm, has_bias=True) for _ in range(7)
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Five maps, fine to coarse -> the same shapes."""
        p3, p4, p5, p6, p7 = maps
        mix = [lambda x, conv=conv: conv(x.relu()) for conv in self.convs]
        first = mix[0](_gated(_fitted(p6, p4), p4))
        second = mix[1](first + p4)
        p3 = mix[2](_fitted(second, p3) + p3)
        p4 = mix[3](_fitted(p3, second) + second)
        p5 = mix[4](p5 + _gated(_fitted(p4, p5), _fitted(p3, p5)))
        p7 = mix[5](p7 + _gated(_fitted(p5, p7), _fitted(second, p7)))
        p6 = mix[6](_gated(_fitted(p7, p6), _fitted(p5, p6)))
        return [p3, p4, p5, p6, p7]


class NASFPN(StackedPyramid):
    """Five maps, mixed by the connections that a search found (NAS-FPN, "7 @ 256").

    Args:
        bottom_up: see `StackedPyramid`, as the next six.
        in_features: likewise.
        shapes: likewise.
        out_channels: likewise.
        num_maps: 5.
        num_stages: likewise.
        norm: likewise.

    Raises:
        ConfigError: for another number of maps.

    Source: Ghiasi 2019, arXiv:1904.07392.
    """

    _stage = _NASStage

    def __init__(
        self,
        bottom_up: Backbone,
        in_features: Sequence[str],
        shapes: Sequence[ShapeSpec],
        out_channels: int,
        num_maps: int,
        num_stages: int = 7,
        norm: Norm = "",
    ) -> None:
        if num_maps != _NAS_MAPS:
            raise ConfigError(
                f'MODEL.FPN.FUSION="nas" connects {_NAS_MAPS} maps; MODEL.FPN.IN_FEATURES and the '
                f"maps above them make {num_maps}."
            )
        super().__init__(bottom_up, in_features, shapes, out_channels, num_maps, num_stages, norm)


class _BiStage(nn.Module):
    """From coarse to fine, then back, with learned weights of what is summed."""

    def __init__(self, num_maps: int, channels: int, norm: Norm) -> None:
        super().__init__()
        self.down = nn.ModuleList(_conv(channels, channels, 3, norm) for _ in range(num_maps - 1))
        self.up = nn.ModuleList(_conv(channels, channels, 3, norm) for _ in range(num_maps - 1))
        self.down_weights = nn.Parameter(torch.ones(num_maps - 1, 2))
        self.up_weights = nn.Parameter(torch.ones(num_maps - 1, 3))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps, fine to coarse -> the same shapes."""
        mixed = [maps[-1]]
        for x, conv, weights in zip(reversed(maps[:-1]), self.down, self.down_weights, strict=True):
            total = _weighted([x, _fitted(mixed[-1], x)], weights)
            mixed.append(conv(F.silu(total)))
        *between, finest = mixed
        results = [finest]
        for x, inner, conv, weights in zip(
            maps[1:], reversed(between), self.up, self.up_weights, strict=True
        ):
            total = _weighted([x, inner, _fitted(results[-1], x)], weights)
            results.append(conv(F.silu(total)))
        return results


def _weighted(maps: Sequence[Tensor], weights: Tensor) -> Tensor:
    """A sum with weights >= 0 whose total is about 1 (fast normalised fusion)."""
    shares = weights.relu()
    shares = shares / (shares.sum() + 1e-4)
    total = maps[0] * shares[0]
    for x, share in zip(maps[1:], shares[1:], strict=True):
        total = total + x * share
    return total


class BiFPN(StackedPyramid):
    """Maps that are mixed from coarse to fine and back, several times.

    The arguments are those of `StackedPyramid`.

    Source: Tan 2019 (EfficientDet), arXiv:1911.09070, section 3.
    """

    _stage = _BiStage
