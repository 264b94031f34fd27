"""Which ground truth belongs to which prediction.

M ground-truth boxes, N predictions.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from d2lite.utils.errors import ArgumentError, ConfigError
from d2lite.utils.memory import retry_if_cuda_oom

__all__ = ["Matcher", "match_anchors"]


class Matcher:
    """Give each prediction its best ground truth, and a label by how good the match is.

    Args:
        thresholds: ascending, positive bounds of match quality, T of them.
        labels: T + 1 numbers out of -1 (ignore), 0 (background) and 1 (foreground): `labels[i]`
            for a quality of at least `thresholds[i - 1]` and below `thresholds[i]`.
        allow_low_quality_matches: each ground truth also makes foreground of the predictions
            that match it best, however badly. (Such a prediction keeps its own best ground truth.)

    Raises:
        ConfigError: if thresholds and labels do not fit together.

    Source: Ren 2015, arXiv:1506.01497, section 3.1.2.
    """

    def __init__(
        self,
        thresholds: list[float],
        labels: list[int],
        allow_low_quality_matches: bool = False,
    ) -> None:
        # Plain lists and loops, since TorchScript compiles this class.
        bounds = [-math.inf]
        bounds.extend(thresholds)
        bounds.append(math.inf)
        if len(thresholds) == 0 or thresholds[0] <= 0 or bounds != sorted(bounds):
            raise ConfigError(f"IOU_THRESHOLDS={thresholds}: give ascending, positive numbers.")
        if len(labels) != len(thresholds) + 1 or not all([x in (-1, 0, 1) for x in labels]):  # noqa: C419
            raise ConfigError(
                f"IOU_LABELS={labels} for the thresholds {thresholds}: give "
                f"{len(thresholds) + 1} labels out of -1, 0 and 1."
            )
        self.thresholds = bounds
        self.labels = list(labels)
        self.allow_low_quality_matches = allow_low_quality_matches

    def __call__(self, match_quality_matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Match.

        Args:
            match_quality_matrix: (M, N) float, >= 0, such as IoU; M may be 0.

        Returns:
            (N,) int64, index of the ground truth, 0 where there is none; (N,) int8, label.

        Raises:
            ArgumentError: for another shape.
        """
        if match_quality_matrix.dim() != 2:
            shape = list(match_quality_matrix.shape)
            raise ArgumentError(f"Qualities of matches have shape {shape}; give (M, N).")
        num_gt, num_preds = match_quality_matrix.size(0), match_quality_matrix.size(1)
        labels_N = match_quality_matrix.new_full((num_preds,), self.labels[0], dtype=torch.int8)
        if num_gt == 0:
            # Without ground truth everything falls below the first threshold.
            return match_quality_matrix.new_zeros((num_preds,), dtype=torch.int64), labels_N
        best_N, matches_N = match_quality_matrix.max(dim=0)
        for i in range(1, len(self.labels)):
            labels_N.masked_fill_(best_N >= self.thresholds[i], self.labels[i])
        if self.allow_low_quality_matches:
            self.set_low_quality_matches_(labels_N, match_quality_matrix)
        return matches_N, labels_N

    def set_low_quality_matches_(self, match_labels: Tensor, match_quality_matrix: Tensor) -> None:
        """Label the best predictions of every ground truth as foreground; ties count all.

        Args:
            match_labels: (N,) int8, changed in place.
            match_quality_matrix: (M, N) float, M > 0.
        """
        if match_quality_matrix.shape[1] == 0:
            return
        best_M1 = match_quality_matrix.amax(dim=1, keepdim=True)
        match_labels.masked_fill_((match_quality_matrix == best_M1).any(dim=0), 1)


def match_anchors(
    matcher: Matcher, overlap: Callable[[Any, Any], Tensor], objects: Any, anchors: Any
) -> tuple[Tensor, Tensor]:
    """Match anchors with the objects of an image, where need be on the CPU.

    The overlaps, which with many objects are the largest tensor of a step, end with this call.

    Args:
        matcher: what decides.
        overlap: gives the (M, N) overlaps of objects and anchors.
        objects: M boxes, of any class that `overlap` takes.
        anchors: N boxes.

    Returns:
        What the matcher returns, on the device of the objects.
    """
    quality = retry_if_cuda_oom(overlap)(objects, anchors)
    matched, labels = retry_if_cuda_oom(matcher)(quality)
    return matched.to(objects.device), labels.to(objects.device)
