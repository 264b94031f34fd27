"""The three suppressions of SOLOv2 as pure functions: points, Matrix NMS, mask NMS.

N candidates sorted by falling score, H x W pixels.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from d2lite.utils.errors import ConfigError


def point_nms(heat: Tensor, kernel: int = 2) -> Tensor:
    """Set to zero every score that a neighbour above or to the left exceeds.

    Args:
        heat: (..., C, S, S) scores >= 0 of the cells of a grid.
        kernel: side of the neighbourhood in cells, whose last one is the one looked at.

    Returns:
        Same shape: the score where it is the largest of its neighbourhood, else 0.
    """
    reach = kernel - 1
    best = F.max_pool2d(F.pad(heat, (reach, 0, reach, 0)), kernel, stride=1)
    return heat.where(heat == best, 0)


def pairwise_mask_iou(masks: Tensor, areas: Tensor) -> Tensor:
    """(..., N, N) IoU of bitmaps.

    Args:
        masks: (..., N, pixels) bool.
        areas: (..., N) pixels of each.
    """
    # In float32 the numbers of pixels are exact.
    flat = masks.float()
    intersection = flat @ flat.mT
    union = areas[..., :, None] + areas[..., None, :] - intersection
    return intersection / union


def matrix_nms(
    cate_labels: Tensor,
    seg_masks: Tensor,
    sum_masks: Tensor,
    cate_scores: Tensor,
    sigma: float = 2.0,
    kernel: str = "gaussian",
) -> Tensor:
    """Decay each score by its overlap with better candidates of its category, all at once.

    Args:
        cate_labels: (N,) int64, sorted by falling score like everything here.
        seg_masks: (N, H, W) bool.
        sum_masks: (N,) float, pixels of each mask, > 0.
        cate_scores: (N,) float.
        sigma: steepness of the gaussian decay.
        kernel: "gaussian" or "linear".

    Returns:
        (N,) scores, none larger than before.

    Raises:
        ConfigError: for another kernel.
    Source: SOLOv2, arXiv:2003.10152, section 3.3.
    """
    if len(cate_scores) == 0:
        return cate_scores
    is_rival = (cate_labels[:, None] == cate_labels[None, :]).triu(diagonal=1)
    iou = pairwise_mask_iou(seg_masks.flatten(1), sum_masks).where(is_rival, 0)
    return cate_scores * matrix_decay(iou, sigma, kernel)


def matrix_decay(iou: Tensor, sigma: float, kernel: str) -> Tensor:
    """By how much each score is lowered.

    Args:
        iou: (..., N, N) of each pair whose first member is a better rival of the second, else 0.
        sigma: see `matrix_nms`.
        kernel: likewise.

    Returns:
        (..., N) factors in [0, 1].

    Raises:
        ConfigError: for another kernel.
    """
    if kernel not in ("gaussian", "linear"):
        raise ConfigError(f"NMS_KERNEL is {kernel!r}; Matrix NMS has 'gaussian' and 'linear'.")
    # How much the better candidate of a pair is itself covered by still better ones: the more it
    # is, the less it decays the other.
    covered = iou.amax(dim=-2)[..., None]
    if kernel == "gaussian":
        decay = torch.exp(sigma * (covered.square() - iou.square()))
    else:
        # Of three equal masks, the second is wholly covered: 0 / 0 without a least divisor.
        decay = (1 - iou) / (1 - covered).clamp(min=torch.finfo(iou.dtype).eps)
    return decay.amin(dim=-2)


def mask_nms(
    cate_labels: Tensor,
    seg_masks: Tensor,
    sum_masks: Tensor,
    cate_scores: Tensor,
    nms_thr: float = 0.5,
) -> Tensor:
    """Greedy suppression: drop what overlaps a better, kept candidate of its category.

    Args:
        cate_labels: (N,) int64, sorted by falling score like everything here.
        seg_masks: (N, H, W) bool.
        sum_masks: (N,) float, pixels of each mask, > 0.
        cate_scores: (N,) float; only their order counts, which is the candidates' order.
        nms_thr: IoU above which the worse of two candidates is dropped.

    Returns:
        (N,) bool, what is kept.
    """
    is_rival = cate_labels[:, None] == cate_labels[None, :]
    # The greedy choice is a chain of decisions, so it runs on the CPU over one small matrix.
    beats = (
        (is_rival & (pairwise_mask_iou(seg_masks.flatten(1), sum_masks) > nms_thr)).triu(1).cpu()
    )
    keep = torch.ones(len(cate_scores), dtype=torch.bool)
    for better in range(len(keep)):
        if keep[better]:
            keep &= ~beats[better]
    return keep.to(seg_masks.device)
