"""SimpleFeaturePyramid: several maps from the one map of a plain transformer.

Source: Li 2022, arXiv:2203.16527, section 3.
"""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from d2lite.layers import get_norm
from d2lite.layers.batch_norm import Norm
from d2lite.utils.errors import ConfigError

from ..weight_init import filled_conv
from .backbone import Backbone, PyramidBackbone, check_maps


class SimpleFeaturePyramid(PyramidBackbone):
    """Maps "p2", "p3", ... from one map of a network, by up- and downsampling it.

    Args:
        net: the network below.
        in_feature: its map to use.
        out_channels: channels of every result.
        scale_factors: sizes of the results over the size of the map: powers of two, fine to
            coarse.
        top_block: makes further, coarser maps, as in `FPN`.
        norm: a name or callable for `get_norm`; "" for none, and then with bias.
        square_pad: pad images to a square of at least so many pixels a side; 0 for any shape.

    Raises:
        ConfigError: if the map is missing, or a scale factor is not a power of two.
    """

    def __init__(
        self,
        net: Backbone,
        in_feature: str,
        out_channels: int,
        scale_factors: Sequence[float],
        top_block: Any = None,
        norm: Norm = "LN",
        square_pad: int = 0,
    ) -> None:
        super().__init__()
        below = net.output_shape()
        check_maps(type(net).__name__, [in_feature], list(below), "The simple pyramid")
        source = below[in_feature]
        strides = [int(source.stride / scale) for scale in scale_factors]
        levels = [int(math.log2(stride)) for stride in strides]
        for level, scale in zip(levels, scale_factors, strict=True):
            self.add_module(
                f"simfp_{level}", _rescaling(scale, source.channels, out_channels, norm)
            )
        self.net = net
        self.in_feature = in_feature
        self.top_block = top_block
        self._levels = levels
        self._size_divisibility = max(strides)
        self._square_pad = square_pad
        self._name_maps(levels, out_channels, top_block)

    @property
    def padding_constraints(self) -> dict[str, int]:
        """The multiple as `size_divisibility`, the side of a square as `square_size` (0: any)."""
        return {"size_divisibility": self._size_divisibility, "square_size": self._square_pad}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Compute the pyramid.

        Args:
            x: (N, C, H, W) float; H and W multiples of `size_divisibility`.

        Returns:
            "p2", ... -> (N, out_channels, H / stride, W / stride), in the order of the scales.
        """
        below = self.net(x)
        source = below[self.in_feature]
        maps = [getattr(self, f"simfp_{level}")(source) for level in self._levels]
        if self.top_block is not None:
            known = {**below, **dict(zip(self._out_features, maps, strict=False))}
            maps += self.top_block(known[self.top_block.in_feature])
        return dict(zip(self._out_features, maps, strict=True))


def _rescaling(scale: float, channels: int, out_channels: int, norm: Norm) -> nn.Sequential:
    """The layers from the map of the transformer to one level of the pyramid."""
    power = math.log2(scale) if scale > 0 else 0.5
    if not power.is_integer():
        raise ConfigError(f"The simple pyramid has no scale {scale}; use powers of two: 4, 2, 0.5.")
    resize: list[nn.Module] = []
    for step in range(int(power)):
        if step > 0:
            # Layers are known by number, so a missing norm leaves a blank.
            resize += [get_norm(norm, channels) or nn.Identity(), nn.GELU()]
        resize.append(nn.ConvTranspose2d(channels, channels // 2, 2, stride=2))
        channels //= 2
    if power < 0:
        stride = int(1 / scale)
        resize.append(nn.MaxPool2d(stride, stride=stride))
    mix = [
        filled_conv(None, before, out_channels, size, norm, has_bias=norm == "")
        for before, size in ((channels, 1), (out_channels, 3))
    ]
    return nn.Sequential(*resize, *mix)
