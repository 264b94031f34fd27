"""Masks of RTMDet-Ins: each object has three small convolutions of its own over shared features.

N images, P prototypes, H x W cells of the finest level, D detections of one image.

Source: Lyu 2022, arXiv:2212.07784, section 3.3.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.layers.batch_norm import Norm
from d2lite.modeling.csp import ConvStep
from d2lite.modeling.dynamic_convs import run_dynamic, with_ways

# Channels between the convolutions of an object.
_CHANNELS = 8


class MaskFeatures(nn.Module):
    """All levels in the size of the finest, mixed to prototypes.

    Args:
        num_levels: of the pyramid.
        in_channels: of each level.
        channels: of the convolutions.
        num_convs: of 3 x 3.
        prototypes: P.
        norm: see `get_norm`.
    """

    def __init__(
        self,
        num_levels: int,
        in_channels: int,
        channels: int,
        num_convs: int,
        prototypes: int,
        norm: Norm,
    ) -> None:
        super().__init__()
        self.fusion_conv = nn.Conv2d(num_levels * in_channels, in_channels, 1)
        self.stacked_convs = nn.Sequential(
            *(
                ConvStep(in_channels if i == 0 else channels, channels, 3, norm=norm)
                for i in range(num_convs)
            )
        )
        self.projection = nn.Conv2d(channels, prototypes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """(N, in_channels, Hi, Wi) of each level, finest first -> (N, P, H, W)."""
        first, *others = features
        size = first.shape[-2:]
        grown = [F.interpolate(x, size=size, mode="bilinear") for x in others]
        return self.projection(self.stacked_convs(self.fusion_conv(torch.cat([first, *grown], 1))))


def mask_widths(prototypes: int) -> list[int]:
    """Channels of the input and of the outputs of an object's convolutions."""
    return [prototypes + 2, _CHANNELS, _CHANNELS, 1]


def mask_logits(
    prototypes: Tensor, kernels: Tensor, points: Tensor, strides: Tensor, stride: int
) -> Tensor:
    """Run the convolutions of each detection over prototypes and the ways to its point.

    Args:
        prototypes: (P, H, W) of the image, or (D, P, H, W).
        kernels: (D, K), see `run_dynamic`.
        points: (D, 2) float (x, y) in pixels.
        strides: (D,) float, of the detections' levels.
        stride: pixels between the cells of the prototypes.

    Returns:
        (D, H, W) logits.
    """
    values = with_ways(prototypes, points, strides, stride)
    return run_dynamic(values, kernels, mask_widths(prototypes.shape[-3]))[:, 0]
