"""Layers that score by the angle between features and weights, whatever the lengths of both."""

import torch.nn.functional as F
from torch import Tensor, nn

from ..utils.errors import ConfigError

__all__ = ["CosineConv2d", "CosineLinear"]

_LEAST_LENGTH = 1e-6


class CosineLinear(nn.Linear):
    """Scores that are cosines times a factor, so that frequent classes gain nothing by length.

    Args:
        in_features: channels of the input.
        out_features: scores.
        scale: the factor, above 0.

    Raises:
        ConfigError: for another factor.

    Source: Wang 2020 (seesaw loss), arXiv:2008.10032, section 3.3.
    """

    def __init__(self, in_features: int, out_features: int, scale: float) -> None:
        super().__init__(in_features, out_features)
        self.scale = _checked(scale)

    def forward(self, x: Tensor) -> Tensor:
        """(R, in_features) -> (R, out_features)."""
        return F.linear(self.scale * _unit(x), _unit(self.weight), self.bias)


class CosineConv2d(nn.Conv2d):
    """`CosineLinear` at each cell of a map.

    Args:
        in_channels: of the input.
        out_channels: scores of each cell.
        scale: the factor, above 0.

    Raises:
        ConfigError: for another factor.

    Source: Wang 2020 (seesaw loss), arXiv:2008.10032, section 3.3.
    """

    def __init__(self, in_channels: int, out_channels: int, scale: float) -> None:
        super().__init__(in_channels, out_channels, kernel_size=1)
        self.scale = _checked(scale)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H, W)."""
        return F.conv2d(self.scale * _unit(x), _unit(self.weight), self.bias)


def _checked(scale: float) -> float:
    if not scale > 0:
        raise ConfigError(f"COSINE_SCALE={scale}: give a factor above 0, or 0 for a linear layer.")
    return scale


def _unit(x: Tensor) -> Tensor:
    """Vectors along axis 1, of length 1."""
    return x / (x.norm(dim=1, keepdim=True) + _LEAST_LENGTH)
