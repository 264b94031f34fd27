"""Layers that see the surroundings of a cell in several sizes at once.

N images, C channels, H x W cells.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .batch_norm import Norm
from .blocks import ConvStep

__all__ = ["PoolPyramid", "ReceptiveFieldBlock"]


class PoolPyramid(nn.Module):
    """Join a map with its maxima over windows of several sizes (spatial pyramid pooling).

    Args:
        channels: C; the map that is pooled has half of them.
        norm: see `get_norm`.
        windows: sides of the windows in cells, odd.

    Source: He 2014, arXiv:1406.4729.
    """

    def __init__(self, channels: int, norm: Norm, windows: Sequence[int] = (5, 9, 13)) -> None:
        super().__init__()
        self.conv1 = ConvStep(channels, channels // 2, norm=norm)
        self.conv2 = ConvStep(channels // 2 * (len(windows) + 1), channels, norm=norm)
        self.windows = tuple(windows)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        x = self.conv1(x)
        pooled = [F.max_pool2d(x, size, 1, size // 2) for size in self.windows]
        return self.conv2(torch.cat([x, *pooled], dim=1))


class ReceptiveFieldBlock(nn.Module):
    """Add what three branches see, each in another size and with gaps that fit it.

    A branch of size n is a convolution of 1 x 1, then one of n x n as stacked ones of 3 x 3, then
    one of 3 x 3 whose cells are n apart. It adds nothing at the start.

    Args:
        channels: C.
        ratio: the channels of a branch, as a share of C.
        scale: of what is added.

    Source: Liu 2017 (RFB), arXiv:1711.07767, section 3.2; without norms and the ReLU at the end.
    """

    def __init__(self, channels: int, ratio: float = 0.125, scale: float = 0.1) -> None:
        super().__init__()
        hidden = max(int(channels * ratio), 1)
        self.branches = nn.ModuleList(
            nn.Sequential(
                ConvStep(channels, hidden, norm="", activation=F.relu),
                *(
                    ConvStep(hidden, hidden, 3, norm="", activation=F.relu)
                    for _ in range(size // 2)
                ),
                nn.Conv2d(hidden, hidden, 3, padding=size, dilation=size),
            )
            for size in (1, 3, 5)
        )
        self.out = nn.Conv2d(3 * hidden, channels, 1)
        self.scale = scale
        for start in self.out.parameters():
            nn.init.zeros_(start)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        seen = torch.cat([branch(x) for branch in self.branches], dim=1)
        return x + self.scale * self.out(seen)
