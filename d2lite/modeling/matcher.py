"""Which ground truth belongs to which prediction.

M ground-truth boxes, N predictions.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from d2lite.utils.errors import ArgumentError

__all__ = ["Matcher"]


class Matcher:
    """Give each prediction its best ground truth, and a label by how good the match is.

    Args:
        thresholds: ascending, positive bounds of match quality, T of them.
        labels: T + 1 numbers out of -1 (ignore), 0 (background) and 1 (foreground): `labels[i]`
            for a quality of at least `thresholds[i - 1]` and below `thresholds[i]`.
        allow_low_quality_matches: each ground truth also makes foreground of the predictions
            that match it best, however badly. (Such a prediction keeps its own best ground truth.)

    Raises:
        ArgumentError: if thresholds and labels do not fit together.

    Source: Ren 2015, arXiv:1506.01497, section 3.1.2.
    """

    def __init__(
        self,
        thresholds: Sequence[float],
        labels: Sequence[int],
        allow_low_quality_matches: bool = False,
    ) -> None:
        thresholds, labels = list(thresholds), list(labels)
        ascending = all(a <= b for a, b in pairwise(thresholds))
        if not thresholds or thresholds[0] <= 0 or not ascending:
            raise ArgumentError(f"IOU_THRESHOLDS={thresholds}: give ascending, positive numbers.")
        if len(labels) != len(thresholds) + 1 or not set(labels) <= {-1, 0, 1}:
            raise ArgumentError(
                f"IOU_LABELS={labels} for the thresholds {thresholds}: give "
                f"{len(thresholds) + 1} labels out of -1, 0 and 1."
            )
        self.thresholds = [-math.inf, *thresholds, math.inf]
        self.labels = labels
        self.allow_low_quality_matches = allow_low_quality_matches

    def __call__(self, match_quality_matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Match.

        Args:
            match_quality_matrix: (M, N) float, >= 0, such as IoU; M may be 0.

        Returns:
            (N,) int64, index of the ground truth, 0 where there is none; (N,) int8, label.
        """
        num_gt, num_preds = match_quality_matrix.shape
        new = match_quality_matrix.new_full
        if num_gt == 0:
            # Without ground truth everything falls below the first threshold.
            return (
                new((num_preds,), 0, dtype=torch.int64),
                new((num_preds,), self.labels[0], dtype=torch.int8),
            )
        best_N, matches_N = match_quality_matrix.max(dim=0)
        labels_N = new((num_preds,), self.labels[0], dtype=torch.int8)
        for bound, label in zip(self.thresholds[1:-1], self.labels[1:], strict=True):
            labels_N.masked_fill_(best_N >= bound, label)
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
