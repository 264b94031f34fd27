"""What may follow the maps of a feature pyramid: a way from fine to coarse, and balancing."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.layers import Conv2d, NonLocal
from d2lite.layers.batch_norm import Norm
from d2lite.utils.errors import ConfigError

from ..weight_init import filled_conv, xavier_fill

__all__ = ["BalancedMaps", "BottomUpPath"]


class BottomUpPath(nn.Module):
    """Mix the maps of a pyramid once more, from fine to coarse.

    Args:
        num_maps: how many there are.
        channels: of each.
        norm: see `get_norm`.

    Source: Liu 2018 (PANet), arXiv:1803.01534, section 3.1.
    """

    def __init__(self, num_maps: int, channels: int, norm: Norm = "") -> None:
        super().__init__()
        self.downsample = nn.ModuleList()
        self.output = nn.ModuleList()
        conv = partial(filled_conv, xavier_fill, channels, channels, 3, norm, has_bias=norm == "")
        for _ in range(num_maps - 1):
            self.downsample.append(conv(stride=2))
            self.output.append(conv())

    def forward(self, maps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Maps by name, fine to coarse -> the same names and shapes."""
        names = list(maps)
        mixed = maps[names[0]]
        results = {names[0]: mixed}
        for name, down, output in zip(names[1:], self.downsample, self.output, strict=True):
            mixed = maps[name] + down(mixed)
            results[name] = output(mixed)
        return results


class BalancedMaps(nn.Module):
    """Add to each map of a pyramid the mean of all of them, refined.

    Args:
        channels: of each map.
        refine: what the mean goes through: "non_local", "conv" (3 x 3, with a ReLU) or "mean"
            (nothing).
        level: the mean has the size of this map, counted from the finest as 0.

    Raises:
        ConfigError: for another name, or a level below 0.

    Source: Pang 2019 (Libra R-CNN), arXiv:1904.02701, section 3.2.
    """

    def __init__(self, channels: int, refine: str = "non_local", level: int = 2) -> None:
        super().__init__()
        if level < 0:
            raise ConfigError(
                f"MODEL.FPN.BALANCE_LEVEL={level}: give a map's number, 0 for the finest."
            )
        self.level = level
        if refine == "non_local":
            self.refine: nn.Module = NonLocal(channels, ratio=1.0, is_scaled=False)
        elif refine == "conv":
            self.refine = Conv2d(channels, channels, 3, padding=1, activation=nn.ReLU())
            xavier_fill(self.refine)
        elif refine == "mean":
            self.refine = nn.Identity()
        else:
            raise ConfigError(
                f'MODEL.FPN.BALANCE={refine!r}: use "non_local", "conv", "mean", or "" for none.'
            )

    def forward(self, maps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Maps by name, fine to coarse -> the same names and shapes; strides double."""
        levels = list(maps.values())
        middle = min(self.level, len(levels) - 1)
        size = levels[middle].shape[-2:]
        sized = [
            F.max_pool2d(x, 2 ** (middle - i))
            if i < middle
            else F.interpolate(x, size=size, mode="nearest")
            for i, x in enumerate(levels)
        ]
        mean = self.refine(torch.stack(sized).mean(dim=0))
        return {
            name: x + _at_size(mean, x.shape[-2:], i - middle)
            for i, (name, x) in enumerate(maps.items())
        }


def _at_size(x: Tensor, size: torch.Size, halvings: int) -> Tensor:
    """The largest cells around each of a coarser map, or the nearest of a finer one."""
    if halvings <= 0:
        return F.interpolate(x, size=size, mode="nearest")
    # Adaptive pooling, which ONNX has for fixed sizes alone: where the sides of the coarser map
    # were rounded up, its cells share cells of this one.
    for dim, count in ((2, size[0]), (3, size[1])):
        place, length = torch.arange(count, device=x.device), x.shape[dim]
        first, after = place * length // count, ((place + 1) * length + count - 1) // count
        taps = [
            x.index_select(dim, torch.minimum(first + i, after - 1)) for i in range(2**halvings + 1)
        ]
        x = torch.stack(taps).amax(dim=0)
    return x
