"""Panoptic quality: match segments of two maps, count hits and misses, average over classes.

Source: Kirillov 2019, arXiv:1801.00868, with void and crowds as COCO's panoptic task treats them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from d2lite.utils.errors import DataError

_VOID = 0
# Two segments of one map never overlap, so above this at most one can match.
_MATCHING_IOU = 0.5


@dataclass
class SegmentCounts:
    """What was found of each category, as sums that can be added up over images.

    Attributes:
        iou: category id -> sum of the overlaps of matched segments.
        hits: category id -> matched segments.
        missed: category id -> segments of the truth that nothing matches.
        wrong: category id -> predicted segments that match nothing.
    """

    iou: dict[int, float] = field(default_factory=dict)
    hits: dict[int, int] = field(default_factory=dict)
    missed: dict[int, int] = field(default_factory=dict)
    wrong: dict[int, int] = field(default_factory=dict)

    def add(self, other: "SegmentCounts") -> None:
        """Add the counts of other images."""
        for name, sums in vars(other).items():
            mine = getattr(self, name)
            for category, value in sums.items():
                mine[category] = mine.get(category, 0) + value

    def quality(self, categories: Collection[int]) -> "PanopticQuality":
        """The mean over those of the categories that occur in truth or prediction."""
        rows = [
            self.quality_of(category)
            for category in categories
            if any(category in sums for sums in (self.hits, self.missed, self.wrong))
        ]
        if not rows:
            nan = float("nan")
            return PanopticQuality(pq=nan, sq=nan, rq=nan, num_categories=0)
        pq, sq, rq = np.mean([(row.pq, row.sq, row.rq) for row in rows], axis=0).tolist()
        return PanopticQuality(pq, sq, rq, num_categories=len(rows))

    def quality_of(self, category: int) -> "PanopticQuality":
        """The quality of one category that occurs."""
        hits = self.hits.get(category, 0)
        misses = self.missed.get(category, 0) + self.wrong.get(category, 0)
        overlap, weight = self.iou.get(category, 0.0), hits + misses / 2
        return PanopticQuality(
            100 * overlap / weight, 100 * overlap / max(hits, 1), 100 * hits / weight, 1
        )


@dataclass(frozen=True)
class PanopticQuality:
    """Percentages: pq is the product of how well matched segments fit and how many match."""

    pq: float
    sq: float
    rq: float
    num_categories: int


def match_segments(
    gt_ids: np.ndarray,
    gt_segments: Sequence[Mapping[str, Any]],
    pred_ids: np.ndarray,
    pred_segments: Sequence[Mapping[str, Any]],
) -> SegmentCounts:
    """Compare the two maps of one image.

    A predicted segment that matches nothing does not count where more than half of it is on void
    or on a crowd of its category; void pixels do not count in its overlap with others either.

    Args:
        gt_ids: (H, W) integers, the true segment of each pixel; 0 is void.
        gt_segments: "id", "category_id" and maybe "iscrowd" of each.
        pred_ids: (H, W) integers, the predicted segment of each pixel; 0 is void.
        pred_segments: "id" and "category_id" of each.

    Returns:
        The counts of this image.

    Raises:
        DataError: if the maps differ in size, or predicted map and segments do not agree.
    """
    if gt_ids.shape != pred_ids.shape:
        raise DataError(
            f"the predicted map is {pred_ids.shape} pixels (height, width), the true one "
            f"{gt_ids.shape}; predictions must have the size of the original image."
        )
    overlap = _count_pairs(gt_ids, pred_ids)
    gt_area, pred_area = _areas(overlap, 0), _areas(overlap, 1)
    gt_category = {s["id"]: s["category_id"] for s in gt_segments}
    pred_category = {s["id"]: s["category_id"] for s in pred_segments}
    _check_prediction(set(pred_area) - {_VOID}, set(pred_category))
    crowd_of = {s["category_id"]: s["id"] for s in gt_segments if s.get("iscrowd", 0)}
    crowds = {s["id"] for s in gt_segments if s.get("iscrowd", 0)}

    counts = SegmentCounts()
    matched: set[tuple[str, int]] = set()
    for (gt, pred), pixels in overlap.items():
        category = gt_category.get(gt)
        if category is None or gt in crowds or pred_category.get(pred) != category:
            continue
        on_void = overlap.get((_VOID, pred), 0)
        iou = pixels / (gt_area[gt] + pred_area[pred] - pixels - on_void)
        if iou > _MATCHING_IOU:
            matched |= {("gt", gt), ("pred", pred)}
            counts.iou[category] = counts.iou.get(category, 0.0) + iou
            _count(counts.hits, category)
    for segment, category in gt_category.items():
        if ("gt", segment) not in matched and segment not in crowds:
            _count(counts.missed, category)
    for segment, category in pred_category.items():
        if ("pred", segment) not in matched:
            free = overlap.get((_VOID, segment), 0)
            free += overlap.get((crowd_of.get(category, -1), segment), 0)
            if free <= pred_area[segment] / 2:
                _count(counts.wrong, category)
    return counts


def _count(numbers: dict[int, int], category: int) -> None:
    numbers[category] = numbers.get(category, 0) + 1


def _count_pairs(gt_ids: np.ndarray, pred_ids: np.ndarray) -> dict[tuple[int, int], int]:
    """(true segment, predicted segment) -> pixels that they share."""
    codes = (gt_ids.astype(np.int64).ravel() << 32) | pred_ids.astype(np.int64).ravel()
    # Neighbours are mostly of one pair: 640 x 480 pixels become some thousand runs to sort.
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    lengths = np.diff(starts, append=codes.size)
    pairs, place = np.unique(codes[starts], return_inverse=True)
    pixels = np.bincount(place, weights=lengths, minlength=len(pairs))
    return {
        (int(code) >> 32, int(code) & 0xFFFFFFFF): int(count)
        for code, count in zip(pairs, pixels, strict=True)
    }


def _areas(overlap: Mapping[tuple[int, int], int], side: int) -> dict[int, int]:
    areas: dict[int, int] = {}
    for pair, pixels in overlap.items():
        areas[pair[side]] = areas.get(pair[side], 0) + pixels
    return areas


def _check_prediction(in_map: set[int], listed: set[int]) -> None:
    if in_map != listed:
        raise DataError(
            "a predicted panoptic map and its list of segments do not agree: only in the map "
            f"{sorted(in_map - listed)}, only in the list {sorted(listed - in_map)}. Every number "
            "in the map but 0 (void) needs an entry in segments_info, and the other way round."
        )
