"""Losses of what the features that all objects share are read for.

N images, K keypoints, C classes, H x W cells.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from d2lite.layers import heatmap_focal_loss
from d2lite.utils.process_means import mean_over_processes, own_share

from .heatmaps import ways_to_keypoints

# The class of cells in the padding, which learn none.
_PADDING = -100


def shared_count(count: Tensor) -> Tensor:
    """What a loss is divided by: the mean of a number over processes, and not 0."""
    return mean_over_processes(count).clamp(min=own_share())


def direction_loss(ways: Tensor, points: Sequence[Tensor], stride: int, reach: float) -> Tensor:
    """The mean distance between predicted ways and true ones along an axis.

    Args:
        ways: (N, 2 * K, H, W), in units of `reach`.
        points: one (M, K, 3) an image; see `ways_to_keypoints`, as the rest.
        stride: pixels of a cell.
        reach: pixels.
    """
    size = (ways.shape[-2], ways.shape[-1])
    targets = [ways_to_keypoints(own, size, stride, reach) for own in points]
    wanted, is_near = (torch.stack(parts) for parts in zip(*targets, strict=True))
    errors = (ways.float().view_as(wanted) - wanted).abs().sum(dim=2)
    return (errors * is_near).sum() / shared_count(2 * is_near.sum().float())


def heatmap_loss(logits: Tensor, heights: Sequence[Tensor]) -> Tensor:
    """The focal loss of the heat maps of all objects together, a keypoint.

    Args:
        logits: (N, K, H, W).
        heights: one (K, h, w) an image, as `draw_heatmaps` gives them, without the padding.
    """
    wanted = torch.zeros_like(logits, dtype=torch.float32)
    for row, of_image in zip(wanted, heights, strict=True):
        row[:, : of_image.shape[1], : of_image.shape[2]] = of_image
    loss = heatmap_focal_loss(logits.float(), wanted, reduction="sum")
    return loss / shared_count((wanted == 1).sum().float())


def class_loss(logits: Tensor, classes: Sequence[Tensor], stride: int) -> Tensor:
    """The mean cross-entropy of the classes of the cells, at the pixel in their middle.

    Args:
        logits: (N, C + 1, H, W), the background first.
        classes: one (height, width) int64 an image, as `draw_classes` gives them.
        stride: pixels of a cell.
    """
    wanted = logits.new_full((len(classes), *logits.shape[-2:]), _PADDING, dtype=torch.int64)
    for row, of_image in zip(wanted, classes, strict=True):
        middle = of_image[stride // 2 :: stride, stride // 2 :: stride]
        row[: middle.shape[0], : middle.shape[1]] = middle
    loss = F.cross_entropy(logits.float(), wanted, reduction="sum", ignore_index=_PADDING)
    return loss / shared_count((wanted != _PADDING).sum().float())
