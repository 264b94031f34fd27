"""Results by the size and by the shape of objects."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .curves import average_precisions, mean_percent
from .matches import NONE, Matches

# Width / height, the upper end excluded.
ASPECT_RANGES = {"tall": (0.0, 2 / 3), "square": (2 / 3, 1.5), "wide": (1.5, np.inf)}


@dataclass(frozen=True)
class Slice:
    """Results on a part of the objects.

    Attributes:
        name: of the part.
        num_objects: in it.
        average_precision: mean over IoU thresholds and classes, percent; nan without objects.
        average_precision_50: the same at IoU 0.5.
        recall_50: share of the objects that were found at IoU 0.5 at any score, percent.
    """

    name: str
    num_objects: int
    average_precision: float
    average_precision_50: float
    recall_50: float


def by_size(matches: Matches, scores: Any, areas: Mapping[str, tuple[float, float]]) -> list[Slice]:
    """Results on small, medium and large objects; AP is the scorer's own APs, APm and APl.

    Args:
        matches: of the set.
        scores: `CocoScores` of the same evaluation.
        areas: name and the smallest and largest area, in square pixels; gt_area decides.
    """
    slices = []
    for name, (lower, upper) in areas.items():
        inside = (matches.gt_area >= lower) & (matches.gt_area <= upper) & ~matches.gt_ignored
        slices.append(
            Slice(
                name,
                int(inside.sum()),
                scores.average_precision(area=name),
                scores.average_precision(area=name, iou=0.5),
                _recall(matches, inside),
            )
        )
    return slices


def by_aspect(matches: Matches) -> list[Slice]:
    """Results on tall, square and wide objects, by width / height of their boxes.

    As COCO does for sizes: a detection that found an object of another shape is ignored, and so is
    a false alarm whose own box has another shape.
    """
    dt_aspect, gt_aspect = aspect_ratio(matches.dt_box), aspect_ratio(matches.gt_box)
    slices = []
    for name, (lower, upper) in ASPECT_RANGES.items():
        inside = (gt_aspect >= lower) & (gt_aspect < upper) & ~matches.gt_ignored
        is_shaped = (dt_aspect >= lower) & (dt_aspect < upper)
        values = np.array(
            [_average_precisions(matches, inside, is_shaped, t) for t in matches.iou_thresholds]
        )
        slices.append(
            Slice(
                name,
                int(inside.sum()),
                mean_percent(values),
                mean_percent(values[matches.at(0.5)]),
                _recall(matches, inside),
            )
        )
    return slices


def aspect_ratio(boxes: np.ndarray) -> np.ndarray:
    """Width / height of N boxes, xywh or rotated, (N,) float; the largest number where flat."""
    sizes = boxes[:, 2:4]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = sizes[:, 0] / sizes[:, 1]
    return np.asarray(np.nan_to_num(ratio, nan=1.0))


def _average_precisions(
    matches: Matches, inside: np.ndarray, is_shaped: np.ndarray, iou: float
) -> np.ndarray:
    match = matches.dt_match[matches.at(iou)]
    right, wrong = matches.is_right(iou).copy(), matches.is_wrong(iou) & is_shaped
    right[right] = inside[match[right]]
    counts = np.bincount(matches.gt_class[inside], minlength=len(matches.category_ids))
    return average_precisions(matches.dt_class, matches.dt_score, right, wrong, counts)


def _recall(matches: Matches, inside: np.ndarray) -> float:
    if not inside.any():
        return float("nan")
    return float((matches.found_by(0.5)[inside] != NONE).mean() * 100)
