"""The mask branch of SOLOv2: pyramid levels fused at the finest one into mask features.

N images, C channels of a level, E = num_masks channels of the result.
"""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .coords import append_coords
from .layers import conv_norm_relu


class _LevelPath(nn.ModuleDict):
    """Convolutions conv0, conv1, ... of one level, with a doubling of the size between them."""

    def __init__(
        self, in_channels: int, channels: int, *, level: int, norm: str, init: str
    ) -> None:
        widths = [in_channels] + [channels] * max(level - 1, 0)
        super().__init__(
            {
                f"conv{i}": conv_norm_relu(width, channels, norm=norm, init=init)
                for i, width in enumerate(widths)
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.values()
        x = first(x)
        for conv in others:
            x = conv(_doubled(x))
        return x


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class MaskHead(nn.Module):
    """Bring every level to the finest one's size by convolving and doubling, add, project.

    Source: SOLOv2, arXiv:2003.10152, section 3.2 and figure 2.
    """

    def __init__(
        self,
        *,
        num_levels: int,
        in_channels: int,
        channels: int,
        num_masks: int,
        norm: str,
        init: str,
    ) -> None:
        """Build the branch.

        Args:
            num_levels: pyramid levels that come in, finest first.
            in_channels: C of every level.
            channels: width of the paths.
            num_masks: E, channels of the mask features.
            norm: "GN" or "".
            init: of the convolutions' weights: "normal" or "kaiming".
        """
        super().__init__()
        coarsest = num_levels - 1
        self.convs_all_levels = nn.ModuleList(
            _LevelPath(in_channels + 2 * (i == coarsest), channels, level=i, norm=norm, init=init)
            for i in range(num_levels)
        )
        self.conv_pred = conv_norm_relu(channels, num_masks, norm=norm, kernel_size=1, init=init)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Fuse the levels.

        Args:
            features: num_levels tensors (N, C, Hi, Wi), each half the size of the one before.

        Returns:
            (N, E, H0, W0) mask features.
        """
        # DIFFERS: AdelaiDet adds the coordinates at the fourth level, whatever their number; here
        # at the coarsest, as in the paper. With four levels both are the same.
        inputs = [*features[:-1], append_coords(features[-1])]
        paths = zip(self.convs_all_levels, inputs, strict=True)
        fused, *halves = (path(x) for path, x in paths)
        if halves:
            # Doubling is linear, so the coarser levels are added before their last one: one
            # doubling instead of one a level, and sums of a quarter of the pixels.
            fused = fused + _doubled(reduce(torch.add, halves))
        return self.conv_pred(fused)
