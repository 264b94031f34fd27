"""A pyramid of layers of two branches that runs from coarse to fine and back.

N images.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.layers import ConvStep, ShapeSpec
from d2lite.layers.batch_norm import Norm

from ..backbone import Backbone


class CSPPAFPN(Backbone):
    """Maps "p3", ... of one width: the backbone's, mixed from coarse to fine and back.

    Args:
        bottom_up: the network below; its maps, finest first, have doubling strides.
        mix: makes the layer that joins two maps, for their channels together and those wanted.
        halve: makes the layer that halves a map, for its channels.
        finish: makes the last layer of a map, for its channels; the result has `out_channels`.
        out_channels: of every map.
        norm: see `get_norm`.

    Source: Liu 2018, arXiv:1803.01534.
    """

    def __init__(
        self,
        bottom_up: Backbone,
        mix: Callable[[int, int], nn.Module],
        halve: Callable[[int], nn.Module],
        finish: Callable[[int], nn.Module],
        out_channels: int,
        *,
        norm: Norm,
    ) -> None:
        super().__init__()
        shapes: dict[str, ShapeSpec] = bottom_up.output_shape()
        self.in_features = sorted(shapes, key=lambda name: shapes[name].stride)
        widths = [shapes[name].channels for name in self.in_features]
        pairs = list(pairwise(widths))
        self.bottom_up = bottom_up
        # From coarse to fine.
        self.reduce_layers = nn.ModuleList(
            ConvStep(coarse, fine, norm=norm) for fine, coarse in reversed(pairs)
        )
        self.top_down_blocks = nn.ModuleList(mix(2 * fine, fine) for fine, _ in reversed(pairs))
        # And from fine to coarse.
        self.downsamples = nn.ModuleList(halve(fine) for fine, _ in pairs)
        self.bottom_up_blocks = nn.ModuleList(mix(2 * fine, coarse) for fine, coarse in pairs)
        self.out_convs = nn.ModuleList(finish(width) for width in widths)
        strides = [shapes[name].stride for name in self.in_features]
        self._out_features = [f"p{stride.bit_length() - 1}" for stride in strides]
        self._out_feature_channels = dict.fromkeys(self._out_features, out_channels)
        self._out_feature_strides = dict(zip(self._out_features, strides, strict=True))
        self._size_divisibility = strides[-1]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) -> "p3", ... of (N, out_channels, H / stride, W / stride)."""
        maps = self.bottom_up(x)
        *finer, top = (maps[name] for name in self.in_features)
        kept = []
        for fine, reduce, mix in zip(
            reversed(finer), self.reduce_layers, self.top_down_blocks, strict=True
        ):
            top = reduce(top)
            kept.append(top)
            grown = F.interpolate(top, size=fine.shape[-2:], mode="nearest")
            top = mix(torch.cat([grown, fine], dim=1))
        results = [top]
        for coarse, halve, mix in zip(
            reversed(kept), self.downsamples, self.bottom_up_blocks, strict=True
        ):
            results.append(mix(torch.cat([halve(results[-1]), coarse], dim=1)))
        return {
            name: conv(result)
            for name, conv, result in zip(self._out_features, self.out_convs, results, strict=True)
        }
