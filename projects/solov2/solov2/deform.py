"""A 3 x 3 deformable convolution that predicts its own offsets."""

import torch
from torch import Tensor, nn

from d2lite.layers import DeformConv, ModulatedDeformConv
from d2lite.modeling.weight_init import zero_fill
from d2lite.utils.errors import ConfigError

_POINTS = 9  # of a 3 x 3 kernel


class DeformBlock(nn.Module):
    """Offsets (and, in version 2, weights) of the nine points from one convolution, then the sum.

    Source: arXiv:1703.06211 (DCN) and arXiv:1811.11168 (DCNv2).
    """

    def __init__(self, in_channels: int, out_channels: int, *, kind: str, bias: bool) -> None:
        """Build offset and main convolution.

        Args:
            in_channels: channels coming in.
            out_channels: channels going out.
            kind: "DCN" or "DCNv2".
            bias: whether the main convolution has one.

        Raises:
            ConfigError: for another kind.
        """
        super().__init__()
        if kind not in ("DCN", "DCNv2"):
            raise ConfigError(f"MODEL.SOLOV2.TYPE_DCN is {kind!r}; use 'DCN' or 'DCNv2'.")
        self.is_modulated = kind == "DCNv2"
        conv_type = ModulatedDeformConv if self.is_modulated else DeformConv
        # Version 1 of the layer has no bias of its own.
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.conv = conv_type(in_channels, out_channels, kernel_size=3, padding=1, bias=False)
        nn.init.normal_(self.conv.weight, std=0.01)
        self.offset = nn.Conv2d(in_channels, _POINTS * (2 + self.is_modulated), 3, padding=1)
        # Zero offsets: training starts from an ordinary convolution.
        zero_fill(self.offset)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (N, C, H, W) to (N, C', H, W)."""
        predicted = self.offset(x)
        if self.is_modulated:
            offset, weight = predicted.split([2 * _POINTS, _POINTS], dim=1)
            out = self.conv(x, offset, weight.sigmoid())
        else:
            out = self.conv(x, predicted)
        return out if self.bias is None else out + self.bias[:, None, None]
