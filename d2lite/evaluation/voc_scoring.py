"""Average precision of boxes from arrays, by the rules of Pascal VOC."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


def voc_ap(rec: np.ndarray, prec: np.ndarray, use_07_metric: bool = False) -> float:
    """The area under a precision-recall curve.

    Args:
        rec: recall after each detection, ascending, in [0, 1].
        prec: precision after each detection, in [0, 1].
        use_07_metric: the mean of the best precision beyond recalls 0, 0.1 ... 1, as in VOC 2007;
            else the exact area under the curve made monotonous.

    Returns:
        AP in [0, 1].
    """
    rec, prec = np.asarray(rec, dtype=np.float64), np.asarray(prec, dtype=np.float64)
    if rec.size == 0:
        return 0.0
    # The best precision at this recall or any beyond it.
    envelope = np.maximum.accumulate(prec[::-1])[::-1]
    if use_07_metric:
        # As in VOC's own code the levels are multiples of 0.1 in floating point.
        first = np.searchsorted(rec, np.arange(0.0, 1.1, 0.1), side="left")
        return float(np.append(envelope, 0.0)[first].sum() / 11)
    return float(np.sum(np.diff(rec, prepend=0.0) * envelope))


@dataclass(frozen=True)
class ClassTruth:
    """All objects of one class: G boxes, the number of each one's image, and which are hard."""

    boxes: np.ndarray
    images: np.ndarray
    is_difficult: np.ndarray

    @property
    def num_counted(self) -> int:
        """Objects that have to be found: all but the hard ones."""
        return int((~self.is_difficult).sum())


@dataclass(frozen=True)
class Matches:
    """D detections by falling score: the object each covers most, and by how much."""

    target: np.ndarray
    iou: np.ndarray

    def curve(self, truth: ClassTruth, threshold: float) -> tuple[np.ndarray, np.ndarray]:
        """Recall and precision after each detection."""
        is_hit = self.iou > threshold
        is_neutral = is_hit.copy()
        is_neutral[is_hit] = truth.is_difficult[self.target[is_hit]]
        candidates = np.flatnonzero(is_hit & ~is_neutral)
        # The first detection of an object is right; VOC counts all later ones as wrong.
        _, first = np.unique(self.target[candidates], return_index=True)
        is_right = np.zeros(len(self.iou), dtype=bool)
        is_right[candidates[first]] = True
        right = np.cumsum(is_right)
        wrong = np.cumsum(~is_right & ~is_neutral)
        recall = right / max(truth.num_counted, 1)
        precision = right / np.maximum(right + wrong, np.finfo(np.float64).eps)
        return recall, precision


def match_detections(
    truth: ClassTruth, images: np.ndarray, scores: np.ndarray, boxes: np.ndarray
) -> Matches:
    """Find the object that each detection covers most.

    Args:
        truth: the objects of the class.
        images: (D,) number of each detection's image, below 0 for one that is not in the set.
        scores: (D,).
        boxes: (D, 4) xyxy in VOC's pixel indices.
    """
    order = np.argsort(-scores, kind="stable")
    images, boxes = images[order], boxes[order]
    target = np.full(len(order), -1)
    iou = np.full(len(order), -np.inf)
    for image in np.intersect1d(images, truth.images):
        rows, columns = np.flatnonzero(images == image), np.flatnonzero(truth.images == image)
        overlaps = _inclusive_iou(boxes[rows], truth.boxes[columns])
        best = overlaps.argmax(axis=1)
        target[rows] = columns[best]
        iou[rows] = overlaps[np.arange(len(rows)), best]
    return Matches(target, iou)


def _inclusive_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(A, B) IoU of boxes whose last row and column belong to them, as in VOC."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = np.clip(high - low + 1, 0, None).prod(axis=2)
    area_first = (first[:, 2:] - first[:, :2] + 1).prod(axis=1)
    area_second = (second[:, 2:] - second[:, :2] + 1).prod(axis=1)
    iou: np.ndarray = common / (area_first[:, None] + area_second[None, :] - common)
    return iou


def truth_of_class(
    objects_of_image: Mapping[str, list[dict[str, Any]]],
    number_of_image: Mapping[str, int],
    name: str,
) -> ClassTruth:
    """The objects of one class in all images.

    Args:
        objects_of_image: for each image what `parse_rec` gives.
        number_of_image: a number for each image.
        name: of the class.
    """
    rows = [
        (number_of_image[image], bool(o["difficult"]), o["bbox"])
        for image, objects in objects_of_image.items()
        for o in objects
        if o["name"] == name
    ]
    return ClassTruth(
        boxes=np.array([box for _, _, box in rows], dtype=np.float64).reshape(-1, 4),
        images=np.array([image for image, _, _ in rows], dtype=np.int64),
        is_difficult=np.array([is_hard for _, is_hard, _ in rows], dtype=bool),
    )


def lines_without_repeats(lines: Sequence[str], times: Mapping[str, int]) -> list[str]:
    """Leave out equal lines of images that were predicted more than once.

    Args:
        lines: of a VOC results file, "image score x0 y0 x1 y1".
        times: how often each image was predicted.
    """
    seen: set[str] = set()
    kept = []
    for line in lines:
        is_repeat = line in seen and times.get(line.rsplit(maxsplit=5)[0], 0) > 1
        seen.add(line)
        if not is_repeat:
            kept.append(line)
    return kept
