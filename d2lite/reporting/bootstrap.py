"""How sure an average precision is: intervals from drawing the images again, with replacement.

Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentiles).
"""

from dataclasses import dataclass

import numpy as np

from .curves import RECALL_LEVELS, ranked
from .matches import Matches

DEFAULT_RESAMPLES = 500
# Numbers in one array of draws and detections: some 30 MB each.
_MAX_CELLS = 4_000_000

# Draws times detections: a minute or so.
_MAX_WORK = 25_000_000


def suitable_resamples(num_detections: int) -> int:
    """Draws that take at most a minute or so: fewer where there are many detections."""
    return max(min(_MAX_WORK // max(num_detections, 1), DEFAULT_RESAMPLES), 50)


@dataclass(frozen=True)
class Interval:
    """A value and the range that holds it in most draws of the images.

    Attributes:
        value: on the set as it is.
        lower: the 2.5th percentile over the draws.
        upper: the 97.5th.
    """

    value: float
    lower: float
    upper: float


def image_weights(num_images: int, num_resamples: int, seed: int = 0) -> np.ndarray:
    """How often each draw of images has each image.

    Returns:
        (num_resamples + 1, num_images) int; the first row is the set as it is.
    """
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(num_images, np.full(num_images, 1 / num_images), num_resamples)
    return np.concatenate([np.ones((1, num_images), dtype=np.int64), drawn])


def resampled_average_precision(matches: Matches, weights: np.ndarray) -> np.ndarray:
    """AP in percent, mean over IoU thresholds and classes, of each draw of images.

    Args:
        matches: of the set.
        weights: (B, I) as `image_weights` gives them.

    Returns:
        (B,) float64; nan where a draw has no object.
    """
    # In parts, so that a class with many detections does not fill the memory.
    rows = max(_MAX_CELLS // max(len(matches.dt_score), 1), 1)
    parts = range(0, len(weights), rows)
    return np.concatenate([_resampled(matches, weights[i : i + rows]) for i in parts])


def _resampled(matches: Matches, weights: np.ndarray) -> np.ndarray:
    total = np.zeros(len(weights))
    present = np.zeros(len(weights))
    is_object = ~matches.gt_ignored
    for k in range(len(matches.category_ids)):
        of_class = is_object & (matches.gt_class == k)
        counts = weights[:, matches.gt_image[of_class]].sum(axis=1)
        rows = np.flatnonzero(matches.dt_class == k)
        order = rows[ranked(matches.dt_score[rows])]
        of_detection = weights[:, matches.dt_image[order]]
        has_objects = counts > 0
        present += has_objects
        values = np.zeros(len(weights))
        for iou in matches.iou_thresholds:
            right = np.cumsum(of_detection * matches.is_right(iou)[order], axis=1)
            wrong = np.cumsum(of_detection * matches.is_wrong(iou)[order], axis=1)
            values += _average_precision(right, wrong, counts)
        total += np.where(has_objects, values / len(matches.iou_thresholds), 0.0)
    return np.where(present > 0, 100 * total / np.maximum(present, 1), np.nan)


def _average_precision(right: np.ndarray, wrong: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """AP of each of B draws, from (B, D) sums along the ranking and (B,) numbers of objects."""
    if not right.shape[1]:
        return np.zeros(len(right))
    precision = right / np.maximum(right + wrong, 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = right / np.maximum(counts, 1)[:, None]
    values = np.zeros(len(right))
    for b in range(len(right)):
        place = np.searchsorted(recall[b], RECALL_LEVELS, side="left")
        values[b] = envelope[b, place[place < recall.shape[1]]].sum() / len(RECALL_LEVELS)
    return values


def interval(values: np.ndarray) -> Interval:
    """The value and its range.

    Args:
        values: (B,) of each draw, the first that of the set as it is.
    """
    drawn = values[1:][~np.isnan(values[1:])]
    if not len(drawn):
        return Interval(float(values[0]), float("nan"), float("nan"))
    lower, upper = np.percentile(drawn, [2.5, 97.5])
    return Interval(float(values[0]), float(lower), float(upper))


def average_precision_difference(
    first: Matches, second: Matches, *, num_resamples: int = DEFAULT_RESAMPLES
) -> Interval:
    """AP of the second minus AP of the first, both on the same draws of images.

    Raises:
        ValueError: if they are not of the same images.
    """
    if first.image_ids != second.image_ids:
        raise ValueError("the two results were not scored on the same images.")
    weights = image_weights(len(first.image_ids), num_resamples)
    before, after = (resampled_average_precision(m, weights) for m in (first, second))
    return interval(after - before)
