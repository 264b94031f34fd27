"""Average precision, precision-recall and F1 curves, counted from `Matches`.

D detections of one class or of all, R = 101 recall levels of COCO.
"""

from dataclasses import dataclass

import numpy as np

from .matches import Matches

RECALL_LEVELS = np.linspace(0.0, 1.0, 101)


def ranked_average_precision(
    is_right: np.ndarray, is_wrong: np.ndarray, num_objects: float
) -> float:
    """COCO's average precision of detections in the order of their scores.

    Args:
        is_right: (D,) weight with which a detection counts as right, usually 0 or 1.
        is_wrong: (D,) the same as a false alarm; ignored detections have 0 in both.
        num_objects: how many there are to find.

    Returns:
        In [0, 1]; nan where there is nothing to find.
    """
    if num_objects <= 0:
        return float("nan")
    right, wrong = np.cumsum(is_right, dtype=np.float64), np.cumsum(is_wrong, dtype=np.float64)
    recall = right / num_objects
    precision = right / np.maximum(right + wrong, np.spacing(1))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(recall, RECALL_LEVELS, side="left")
    reached = place < len(recall)
    return float(envelope[place[reached]].sum() / len(RECALL_LEVELS))


def ranked(scores: np.ndarray) -> np.ndarray:
    """Order by falling score; of equal scores the first comes first, as in the scorer."""
    return np.argsort(-scores, kind="stable")


def class_average_precision(matches: Matches, iou: float) -> np.ndarray:
    """AP of each class at one IoU, (K,) float in [0, 1]; nan without objects."""
    right, wrong, counts = matches.is_right(iou), matches.is_wrong(iou), matches.num_objects()
    return average_precisions(matches.dt_class, matches.dt_score, right, wrong, counts)


def average_precisions(
    labels: np.ndarray,
    scores: np.ndarray,
    is_right: np.ndarray,
    is_wrong: np.ndarray,
    counts: np.ndarray,
) -> np.ndarray:
    """AP of each class, (K,) float in [0, 1]; nan without objects.

    Args:
        labels: (D,) the class of each detection.
        scores: (D,) float.
        is_right: (D,) bool.
        is_wrong: (D,) bool; ignored detections are neither.
        counts: (K,) objects to find of each class.
    """
    values = []
    for k, count in enumerate(counts):
        rows = np.flatnonzero(labels == k)
        order = rows[ranked(scores[rows])]
        values.append(ranked_average_precision(is_right[order], is_wrong[order], float(count)))
    return np.array(values)


def mean_percent(values: np.ndarray) -> float:
    """The mean of those that are not nan, in percent; nan where there are none."""
    present = values[~np.isnan(values)]
    return float(present.mean() * 100) if len(present) else float("nan")


@dataclass(frozen=True)
class Curve:
    """How many detections are right and wrong at each threshold on the score.

    The first point has no detection (threshold above all scores), the last one has all.

    Attributes:
        thresholds: (P,) float, falling; a detection counts where its score is not below. The
            first is infinite.
        right: (P,) int.
        wrong: (P,) int.
        num_objects: to be found.
    """

    thresholds: np.ndarray
    right: np.ndarray
    wrong: np.ndarray
    num_objects: int

    @property
    def precision(self) -> np.ndarray:
        """(P,) float in [0, 1]; 1 where there is no detection, since none is wrong."""
        total = self.right + self.wrong
        return np.where(total > 0, self.right / np.maximum(total, 1), 1.0)

    @property
    def recall(self) -> np.ndarray:
        """(P,) float in [0, 1]; nan where there is nothing to find."""
        if not self.num_objects:
            return np.full(len(self.right), np.nan)
        return np.asarray(self.right / self.num_objects)

    @property
    def f1(self) -> np.ndarray:
        """(P,) float in [0, 1]; nan where there is nothing to find."""
        if not self.num_objects:
            return np.full(len(self.right), np.nan)
        return np.asarray(2 * self.right / (self.right + self.wrong + self.num_objects))

    def best(self) -> int | None:
        """Number of the point with the highest F1; of equal ones that with the fewest detections.

        None where no detection is right.
        """
        if not self.num_objects or not self.right.any():
            return None
        return int(np.argmax(self.f1))

    def at(self, threshold: float) -> int:
        """Number of the point of a threshold on the score."""
        return int(np.searchsorted(-self.thresholds, -threshold, side="right")) - 1


def score_curve(matches: Matches, iou: float, label: int | None = None) -> Curve:
    """Count right and wrong detections at each score.

    Args:
        matches: of the set.
        iou: threshold of a match.
        label: the class; None for all classes together.
    """
    rows = np.arange(len(matches.dt_score))
    counts = matches.num_objects()
    if label is not None:
        rows = np.flatnonzero(matches.dt_class == label)
    order = rows[ranked(matches.dt_score[rows])]
    scores = matches.dt_score[order]
    # Detections of equal score come and go together: a threshold cannot tell them apart.
    is_last = np.append(scores[1:] != scores[:-1], True) if len(scores) else np.zeros(0, bool)
    right = np.cumsum(matches.is_right(iou)[order])[is_last]
    wrong = np.cumsum(matches.is_wrong(iou)[order])[is_last]
    return Curve(
        thresholds=np.concatenate([[np.inf], scores[is_last]]),
        right=np.concatenate([[0], right]).astype(np.int64),
        wrong=np.concatenate([[0], wrong]).astype(np.int64),
        num_objects=int(counts.sum() if label is None else counts[label]),
    )


def precision_recall_points(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """The curve to draw, with both of its ends.

    It begins at recall 0 and, where not all objects are found, falls to precision 0 and goes on to
    recall 1, so that the area under it is the whole average precision.

    Returns:
        Recall and precision, where precision is the best one at this recall or a higher one.
    """
    if not curve.num_objects:
        return np.zeros(0), np.zeros(0)
    recall, precision = curve.recall[1:], curve.precision[1:]
    if not len(recall):
        return np.array([0.0, 1.0]), np.array([0.0, 0.0])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    recall, envelope = np.append(0.0, recall), np.append(envelope[0], envelope)
    if recall[-1] < 1:
        recall, envelope = np.append(recall, [recall[-1], 1.0]), np.append(envelope, [0.0, 0.0])
    return recall, envelope
