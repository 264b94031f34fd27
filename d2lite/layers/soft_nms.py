"""Soft suppression: scores of boxes that overlap a better one fall, instead of being dropped."""

from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_iou

from ..utils.errors import ConfigError

__all__ = ["SoftNMS", "soft_nms"]

_METHODS = ("linear", "gaussian", "fast")


class SoftNMS(NamedTuple):
    """How scores fall, or that boxes are dropped by `fast_nms`.

    Attributes:
        method: "linear", by the share of 1 - IoU above a threshold, or "gaussian", by
            exp(-IoU^2 / sigma); "fast" for `fast_nms`, which needs nothing more.
        sigma: of "gaussian"; the larger, the less they fall.
        min_score: boxes that score less are dropped.
    """

    method: str
    sigma: float = 0.5
    min_score: float = 0.001

    @classmethod
    def from_options(cls, method: str, sigma: float, min_score: float) -> "SoftNMS | None":
        """The values of `TEST.SOFT_NMS`, checked; None where METHOD is ""."""
        if not method:
            return None
        if method not in _METHODS:
            raise ConfigError(
                f'TEST.SOFT_NMS.METHOD={method!r}: use "linear", "gaussian", "fast", or "".'
            )
        if sigma <= 0:
            raise ConfigError(f"TEST.SOFT_NMS.SIGMA={sigma}: use more than 0.")
        return cls(method, sigma, min_score)


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor,
    iou_threshold: float,
    options: SoftNMS,
    most: int = -1,
) -> tuple[Tensor, Tensor]:
    """Choose the best box again and again, and let the scores of its neighbours fall each time.

    Args:
        boxes: (N, 4) float, xyxy.
        scores: (N,) float.
        groups: (N,) integer, such as the class; boxes of two groups do not change each other.
        iou_threshold: of "linear": scores of boxes with a smaller IoU stay.
        options: see `SoftNMS`.
        most: how many are wanted; below 0 for all.

    Returns:
        (K,) int64 positions, and (K,) float32 scores, both by falling score.

    Source: Bodla 2017, arXiv:1704.04503.
    """
    boxes, left = boxes.float(), scores.float().clone()
    count = len(boxes) if most < 0 else min(most, len(boxes))
    chosen = torch.zeros(count, dtype=torch.int64, device=boxes.device)
    values = left.new_full((count,), -torch.inf)
    for place in range(count):
        best = left.argmax()
        chosen[place], values[place] = best, left[best]
        # Two boxes without area have no IoU.
        overlaps = box_iou(boxes[best][None], boxes)[0].nan_to_num(0.0)
        overlaps = overlaps.where(groups == groups[best], 0.0)
        if options.method == "gaussian":
            factors = (-(overlaps**2) / options.sigma).exp()
        else:
            factors = torch.where(overlaps > iou_threshold, 1 - overlaps, 1.0)
        left = left * factors
        left[best] = -torch.inf
    is_kept = values >= options.min_score
    return chosen[is_kept], values[is_kept]
