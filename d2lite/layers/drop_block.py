"""DropBlock: zero whole squares of a map in training."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["DropBlock"]


class DropBlock(nn.Module):
    """Zero squares of cells at random in training, and scale up the others.

    Args:
        drop_prob: the share of cells that is zeroed, about.
        block_size: side of a square in cells, odd.

    Source: Ghiasi 2018, arXiv:1810.12890.
    """

    def __init__(self, drop_prob: float = 0.1, block_size: int = 7) -> None:
        super().__init__()
        self.drop_prob = drop_prob
        self.block_size = block_size

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        if not self.training or self.drop_prob == 0:
            return x
        height, width = x.shape[2:]
        size = min(self.block_size, height, width)
        size -= 1 - size % 2
        # A square has to fit into the map, so that its middle is away from the border.
        inside = (height - size + 1) * (width - size + 1)
        chance = self.drop_prob * height * width / size**2 / inside
        middles = torch.rand(x.shape[0], x.shape[1], height, width, device=x.device) < chance
        border = size // 2
        middles = F.pad(
            middles[:, :, border : height - border, border : width - border].to(x.dtype),
            (border, border, border, border),
        )
        kept = 1 - F.max_pool2d(middles, size, stride=1, padding=border)
        return x * kept * (kept.numel() / kept.sum().clamp(min=1))
