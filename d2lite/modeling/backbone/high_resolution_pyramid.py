"""HRFPN: a pyramid of averages of all maps joined at the finest one."""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.layers import ShapeSpec
from d2lite.layers.batch_norm import Norm

from ..weight_init import filled_conv, xavier_fill
from .backbone import Backbone, PyramidBackbone

__all__ = ["HighResolutionPyramid"]


class HighResolutionPyramid(PyramidBackbone):
    """Join all maps at the size of the finest, and average them to the sizes of the others.

    Args:
        bottom_up: the network below.
        in_features: its maps to use, fine to coarse, each of twice the stride of the one before.
        shapes: of those maps.
        out_channels: of every result.
        num_maps: results.
        norm: see `get_norm`.

    Source: Sun 2019 (HRNetV2p), arXiv:1904.04514, section 2.
    """

    def __init__(
        self,
        bottom_up: Backbone,
        in_features: Sequence[str],
        shapes: Sequence[ShapeSpec],
        out_channels: int,
        num_maps: int,
        norm: Norm = "",
    ) -> None:
        super().__init__()
        self.bottom_up = bottom_up
        self.in_features = tuple(in_features)
        conv = partial(filled_conv, xavier_fill)
        self.join = conv(sum(shape.channels for shape in shapes), out_channels, 1, norm)
        self.output = nn.ModuleList(
            conv(out_channels, out_channels, 3, norm) for _ in range(num_maps)
        )
        first = int(shapes[0].stride).bit_length() - 1
        self._name_maps(range(first, first + num_maps), out_channels, None)
        self._size_divisibility = 2 ** (first + num_maps - 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, C, H, W), multiples of `size_divisibility` -> maps of `out_channels` by name."""
        below = self.bottom_up(x)
        finest, *coarser = (below[name] for name in self.in_features)
        size = finest.shape[-2:]
        joined = self.join(
            torch.cat(
                [finest, *(F.interpolate(y, size=size, mode="bilinear") for y in coarser)], dim=1
            )
        )
        return {
            name: conv(F.avg_pool2d(joined, 2**i) if i else joined)
            for i, (name, conv) in enumerate(zip(self._out_features, self.output, strict=True))
        }
