"""Attention over the cells and the channels of a map, as parts of convolutional networks.

N images, C channels, H x W cells.
"""

import math

import torch
from torch import Tensor, nn

__all__ = ["ChannelAndSpatialAttention", "EfficientChannelAttention", "GlobalContext", "NonLocal"]


def _means(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 1, 1), in float32: a sum over a large map may pass float16's range."""
    return x.float().mean(dim=(2, 3), keepdim=True).to(x.dtype)


class NonLocal(nn.Module):
    """Add to each cell a mean of all cells, weighted by how alike they are; nothing at the start.

    Args:
        channels: C.
        ratio: the channels that are compared, as a share of C.
        is_scaled: divide the products by the root of those channels before the softmax.

    Source: Wang 2017, arXiv:1711.07971 (embedded Gaussian).
    """

    def __init__(self, channels: int, ratio: float = 0.5, is_scaled: bool = True) -> None:
        super().__init__()
        width = max(int(channels * ratio), 1)
        self.scale = width**-0.5 if is_scaled else 1.0
        self.theta = nn.Conv2d(channels, width, 1)
        self.phi = nn.Conv2d(channels, width, 1)
        self.g = nn.Conv2d(channels, width, 1)
        self.out = nn.Conv2d(width, channels, 1)
        for layer in (self.theta, self.phi, self.g):
            nn.init.normal_(layer.weight, std=0.01)
        for start in self.out.parameters():
            nn.init.zeros_(start)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        query, key, value = (
            layer(x).flatten(2).transpose(1, 2) for layer in (self.theta, self.phi, self.g)
        )
        # Not torch's own attention, which cannot be recorded for maps of any size.
        mixed = (query @ key.transpose(1, 2) * self.scale).softmax(dim=2) @ value
        return x + self.out(mixed.transpose(1, 2).unflatten(2, x.shape[2:]))


class GlobalContext(nn.Module):
    """Add to all cells the same numbers, made of a weighted mean over the cells.

    Args:
        channels: C.
        ratio: the hidden channels, as a share of C.

    Source: Cao 2019 (GCNet), arXiv:1904.11492.
    """

    def __init__(self, channels: int, ratio: float = 0.25) -> None:
        super().__init__()
        hidden = max(int(channels * ratio), 1)
        self.mask = nn.Conv2d(channels, 1, 1)
        self.add = nn.Sequential(
            nn.Conv2d(channels, hidden, 1),
            nn.LayerNorm([hidden, 1, 1]),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, 1),
        )
        nn.init.kaiming_normal_(self.mask.weight, mode="fan_in")
        for start in self.add[-1].parameters():
            nn.init.zeros_(start)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        weights = self.mask(x).flatten(2).softmax(dim=2)
        context = x.flatten(2) @ weights.transpose(1, 2)
        return x + self.add(context[..., None])


class EfficientChannelAttention(nn.Module):
    """Weigh each channel by what the means of its neighbours say.

    Args:
        channels: C, of which the number of neighbours follows.

    Source: Wang 2019 (ECA-Net), arXiv:1910.03151.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        size = int((math.log2(channels) + 1) / 2)
        size = max(size + 1 - size % 2, 3)
        self.conv = nn.Conv1d(1, 1, size, padding=size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        means = _means(x)[..., 0].transpose(1, 2)
        return x * self.conv(means).sigmoid().transpose(1, 2)[..., None]


class ChannelAndSpatialAttention(nn.Module):
    """Weigh channels by their means and maxima, then cells by those over channels.

    Args:
        channels: C.
        ratio: the hidden channels, as a share of C.

    Source: Woo 2018 (CBAM), arXiv:1807.06521.
    """

    def __init__(self, channels: int, ratio: float = 0.0625) -> None:
        super().__init__()
        hidden = max(int(channels * ratio), 1)
        self.channel = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, channels, 1)
        )
        self.spatial = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        x = x * (self.channel(_means(x)) + self.channel(x.amax(dim=(2, 3), keepdim=True))).sigmoid()
        both = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return x * self.spatial(both).sigmoid()
