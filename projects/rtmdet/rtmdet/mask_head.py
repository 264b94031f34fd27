"""Masks of RTMDet-Ins: each object has three small convolutions of its own over shared features.

N images, P prototypes, H x W cells of the finest level, D detections and M objects of one image.

Source: Lyu 2022, arXiv:2212.07784, section 3.3.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.layers import ConvStep
from d2lite.layers.batch_norm import Norm
from d2lite.modeling.dynamic_convs import run_dynamic, with_ways
from d2lite.structures import BitMasks, Instances, PolygonMasks

# Channels between the convolutions of an object.
_CHANNELS = 8
# Masks are compared with the truth at every fourth pixel.
_STEP = 4
# Added to both sums of the dice loss; the value of published code.
_DICE_EPS = 5e-6


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


def dice_losses(logits: Tensor, masks: Tensor, stride: int) -> Tensor:
    """One minus the dice coefficient of each detection's mask.

    Args:
        logits: (D, H, W) float.
        masks: (D, height, width) bool, the truth of each.
        stride: pixels between the cells of the logits.

    Returns:
        (D,) in [0, 1].
    """
    logits = F.interpolate(logits[:, None], scale_factor=stride / _STEP, mode="bilinear")[:, 0]
    height, width = logits.shape[-2:]
    wanted = masks[:, _STEP // 2 :: _STEP, _STEP // 2 :: _STEP].float()[:, :height, :width]
    wanted = F.pad(wanted, (0, width - wanted.shape[2], 0, height - wanted.shape[1]))
    chances, wanted = logits.sigmoid().flatten(1), wanted.flatten(1)
    squares = (chances**2).sum(dim=1) + (wanted**2).sum(dim=1) + 2 * _DICE_EPS
    return 1 - 2 * (chances * wanted).sum(dim=1) / squares


def true_masks(gt: Instances) -> Tensor:
    """(M, height, width) bool, from `gt_masks` of either kind, on the device of the boxes."""
    # Mappers of users give an image without objects no masks.
    masks = gt.gt_masks if len(gt) else PolygonMasks([])
    return BitMasks.of(masks, *gt.image_size).tensor.to(gt.gt_boxes.device)


def mask_centers(masks: Tensor) -> Tensor:
    """(M, height, width) bool: the mean place (x, y) of each mask's pixels, (M, 2)."""
    share = masks.float()
    share = share / share.sum(dim=(1, 2), keepdim=True).clamp(min=1)
    places = [
        share.sum(dim=axis) @ torch.arange(masks.shape[3 - axis], device=masks.device).float()
        for axis in (1, 2)
    ]
    return torch.stack(places, dim=1)


def paste_masks(
    logits: Tensor,
    stride: int,
    image_size: tuple[int, int],
    size: tuple[int, int],
    threshold: float,
) -> Tensor:
    """Bring masks to the size of the result.

    Args:
        logits: (D, H, W) of the padded image.
        stride: pixels between their cells.
        image_size: (height, width) of the image as the network sees it, without padding.
        size: (height, width) of the result.
        threshold: pixels of a mask have a higher probability.

    Returns:
        (D, *size) bool.
    """
    pasted = []
    # A few at a time, which bounds the memory.
    for piece in logits[:, None].split(8):
        full = F.interpolate(piece, scale_factor=float(stride), mode="bilinear")
        full = full[..., : image_size[0], : image_size[1]]
        full = F.interpolate(full, size=size, mode="bilinear")[:, 0]
        pasted.append(full.sigmoid() > threshold)
    return torch.cat(pasted) if pasted else logits.new_zeros((0, *size), dtype=torch.bool)
