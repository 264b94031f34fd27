"""How much two results for one image differ: boxes, scores, masks, and maps of pixels."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from d2lite.structures import Instances, pairwise_iou

Segments = tuple[Tensor, list[dict[str, Any]] | None]

__all__ = ["Difference", "Tolerance", "compare_results"]

# A pair of detections is the same object from this IoU on.
_SAME_OBJECT = 0.5


class Tolerance(NamedTuple):
    """What counts as the same result.

    Attributes:
        score: largest difference of scores.
        box: largest difference of coordinates, as a share of the longer side of the image.
        mask: largest 1 - IoU of two masks of some size.
        matched: smallest share of matched detections.
        pixels: smallest share of pixels of the same class.
    """

    score: float = 0.02
    box: float = 0.01
    mask: float = 0.1
    matched: float = 0.95
    pixels: float = 0.98


HALF_TOLERANCE = Tolerance(score=0.05, box=0.03, mask=0.2, matched=0.9, pixels=0.95)
# In 8 bits the AP counts, and single objects differ more.
INT8_TOLERANCE = Tolerance(score=0.3, box=0.15, mask=0.5, matched=0.75, pixels=0.9)
# Masks of fewer pixels differ much by one.
_LEAST_MASK = 64


@dataclass
class Difference:
    """The differences of one image, None where there is nothing to compare.

    Attributes:
        detections: of the model, above the threshold by more than the tolerance.
        matched: share of them that the file has too, with the same class.
        score: largest difference of scores.
        box: largest difference of coordinates, in pixels.
        mask: largest 1 - IoU of masks.
        keypoint: largest distance of keypoints along an axis, in pixels.
        pixels: share of pixels with the same class, and of the same segment where there are some.
    """

    detections: int = 0
    matched: float = 1.0
    score: float = 0.0
    box: float | None = 0.0
    mask: float | None = None
    keypoint: float | None = None
    pixels: float | None = None

    def faults(self, tolerance: Tolerance, long_side: int) -> list[str]:
        """What differs by more than the tolerance, in words; empty where the results agree.

        Args:
            tolerance: the limits.
            long_side: of the image, in pixels.
        """
        # One of a few detections may fall on the other side of a threshold.
        lost = (1 - self.matched) * self.detections
        found = []
        if self.matched < tolerance.matched and lost > 1:
            found.append(f"{self.matched:.0%} of {self.detections} detections are matched")
        if self.score > tolerance.score:
            found.append(f"scores differ by {self.score:.3f}")
        if self.box is not None and self.box > tolerance.box * long_side:
            found.append(f"boxes differ by {self.box:.1f} pixels")
        if self.mask is not None and self.mask > tolerance.mask:
            found.append(f"masks differ by {self.mask:.0%}")
        if self.pixels is not None and self.pixels < tolerance.pixels:
            found.append(f"{self.pixels:.1%} of the pixels have the same class")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def compare_results(
    expected: Mapping[str, Any], found: Mapping[str, Any], lowest: float
) -> Difference:
    """Compare what a model and a file give for one image.

    Args:
        expected: of the model, see `Detector.predict`.
        found: of the file.
        lowest: detections of lower scores are not asked for.
    """
    result = Difference()
    if "instances" in expected:
        _compare_instances(result, expected["instances"], found["instances"], lowest)
    if "sem_seg" in expected:
        same = expected["sem_seg"].argmax(dim=0) == found["sem_seg"].argmax(dim=0)
        result.pixels = float(same.float().mean())
    if "panoptic_seg" in expected:
        share = _equal_segments(expected["panoptic_seg"], found["panoptic_seg"])
        result.pixels = share if result.pixels is None else min(share, result.pixels)
    return result


def _equal_segments(expected: Segments, found: Segments) -> float:
    """Share of pixels whose segment is, of both, the one that has most of the other."""
    (ours, classes), (theirs, their_classes) = (_classes(one) for one in (expected, found))
    pairs, counts = torch.stack([ours.flatten(), theirs.flatten()]).unique(
        dim=1, return_counts=True
    )
    common = dict(zip(map(tuple, pairs.T.tolist()), counts.tolist(), strict=True))
    equal = 0
    for (own, other), count in common.items():
        is_most = all(
            count >= rival for pair, rival in common.items() if pair[0] == own or pair[1] == other
        )
        # Pixels without a segment may be few.
        known = classes is None or their_classes is None or classes[own] == their_classes[other]
        if (is_most or own == other == 0) and known:
            equal += count
    return equal / ours.numel()


def _classes(result: Segments) -> tuple[Tensor, dict[int, int] | None]:
    """(H, W) int64 numbers, 0 for void, and the class of each; None where only labels are given."""
    numbers, segments = result
    if segments is None:
        # Panoptic-DeepLab: its labels contain the classes, which `sem_seg` has too; -1 is void.
        return numbers.long() + 1, None
    return numbers.long(), {0: -1, **{one["id"]: one["category_id"] for one in segments}}


def _compare_instances(
    result: Difference, expected: Instances, found: Instances, lowest: float
) -> None:
    expected = expected.to("cpu")[expected.scores.cpu() >= lowest]
    result.detections = len(expected)
    pairs = _pairs(expected, found)
    if not len(expected):
        return
    result.matched = len(pairs) / len(expected)
    if not len(pairs):
        return
    ours, theirs = pairs.unbind(1)
    result.score = _largest(expected.scores[ours] - found.scores[theirs])
    result.box = _largest(expected.pred_boxes.tensor[ours] - found.pred_boxes.tensor[theirs])
    if expected.has("pred_masks"):
        result.mask = _mask_difference(expected.pred_masks[ours], found.pred_masks[theirs])
    if expected.has("pred_keypoints"):
        points = expected.pred_keypoints[ours] - found.pred_keypoints[theirs]
        result.keypoint = _largest(points[..., :2])


def _pairs(expected: Instances, found: Instances) -> Tensor:
    """(P, 2) int64 rows of the same object; each detection takes the nearest one that is free."""
    if not len(expected) or not len(found):
        return torch.zeros((0, 2), dtype=torch.int64)
    overlap = pairwise_iou(expected.pred_boxes, found.pred_boxes)
    overlap[expected.pred_classes[:, None] != found.pred_classes] = 0
    # Twice found objects have equal boxes; the scores tell which is which.
    apart = (expected.scores[:, None] - found.scores).abs()
    rows = []
    for row in range(len(expected)):
        nearness = torch.where(overlap[row] >= _SAME_OBJECT, overlap[row] - apart[row], -1.0)
        best = int(nearness.argmax())
        if nearness[best] > 0:
            rows.append((row, best))
            overlap[:, best] = 0
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, 2)


def _mask_difference(expected: Tensor, found: Tensor) -> float:
    common = (expected & found).flatten(1).sum(dim=1)
    either = (expected | found).flatten(1).sum(dim=1)
    is_large = either >= _LEAST_MASK
    if not is_large.any():
        return 0.0
    return _largest(1 - common[is_large] / either[is_large])


def _largest(values: Tensor) -> float:
    return float(values.abs().max()) if values.numel() else 0.0
