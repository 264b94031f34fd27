"""Kinds of errors, and what each costs in average precision.

Source of the kinds and of what "fixed" means: Bolya et al. 2020, TIDE, arXiv:2008.08115, section 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .curves import average_precisions, class_average_precision, mean_percent, ranked
from .matches import NONE, ImageOverlaps, Matches

KINDS = {
    "class": "The place is right, the class is wrong.",
    "place": "The class is right, but box or mask overlaps too little with the object.",
    "both": "Another class's object is near, but the overlap is too small as well.",
    "duplicate": "The object has been found already by a detection with a higher score.",
    "background": "Nothing is there.",
    "missed": "An object that no detection is near to.",
}
_WITH_A_DETECTION = [kind for kind in KINDS if kind != "missed"]


@dataclass(frozen=True)
class Errors:
    """The kind of each wrong detection and of each object that was missed.

    Attributes:
        iou: threshold of a match.
        near: from this IoU on a detection belongs to an object, and is not background.
        dt_kind: (D,) position in KINDS; -1 for a detection that is right or ignored.
        dt_object: (D,) int, the object that a class or place error is about; -1 for the others.
        is_missed: (G,) bool.
        counts: of each kind.
        cost: of each kind, by how much AP in percent at `iou` rises when all of its errors are
            corrected. They do not add up to 100 - AP.
        average_precision: in percent at `iou`, as the scorer has it.
    """

    iou: float
    near: float
    dt_kind: np.ndarray
    dt_object: np.ndarray
    is_missed: np.ndarray
    counts: dict[str, int] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    average_precision: float = float("nan")


def error_kinds(matches: Matches, *, iou: float = 0.5, near: float = 0.1) -> Errors:
    """Give each wrong detection one kind, and measure what the kinds cost.

    A detection that fits more than one kind has the first of: place, class, duplicate,
    background, both. Objects that a place or class error is about are not missed.

    Args:
        matches: of the set.
        iou: threshold of a match, one of the scorer's.
        near: overlap below which a detection is background.
    """
    found = Errors(
        iou,
        near,
        np.full(len(matches.dt_score), NONE),
        np.full(len(matches.dt_score), NONE),
        matches.is_missed(iou),
    )
    wrong = matches.is_wrong(iou)
    for image in matches.overlaps:
        _judge_image(matches, found, image, wrong)
    found.is_missed[found.dt_object[found.dt_object != NONE]] = False
    for number, kind in enumerate(_WITH_A_DETECTION):
        found.counts[kind] = int((found.dt_kind == number).sum())
    found.counts["missed"] = int(found.is_missed.sum())
    base = mean_percent(class_average_precision(matches, iou))
    found.cost.update({kind: mean_percent(_fixed(matches, found, kind)) - base for kind in KINDS})
    return replace(found, average_precision=base)


def _judge_image(matches: Matches, found: Errors, image: ImageOverlaps, wrong: np.ndarray) -> None:
    objects = image.objects
    is_real = ~matches.gt_ignored[objects]
    for row, d in enumerate(image.detections):
        if not wrong[d]:
            continue
        is_own = matches.gt_class[objects] == matches.dt_class[d]
        own, best_own = _highest(image.iou[row], is_own & is_real)
        other, best_other = _highest(image.iou[row], ~is_own & is_real)
        about = NONE
        if found.near <= own < found.iou:
            kind, about = "place", objects[best_own]
        elif other >= found.iou:
            kind, about = "class", objects[best_other]
        elif own >= found.iou:
            kind = "duplicate"
        elif max(own, other) < found.near:
            kind = "background"
        else:
            kind = "both"
        found.dt_kind[d], found.dt_object[d] = _WITH_A_DETECTION.index(kind), about


def _highest(overlap: np.ndarray, chosen: np.ndarray) -> tuple[float, int]:
    """The highest overlap among the chosen objects, and its position; -1 without one."""
    if not chosen.any():
        return -1.0, NONE
    best = int(np.where(chosen, overlap, -1.0).argmax())
    return float(overlap[best]), best


def _fixed(matches: Matches, found: Errors, kind: str) -> np.ndarray:
    """AP of each class when the errors of one kind are corrected, (K,) in percent."""
    right, wrong = matches.is_right(found.iou), matches.is_wrong(found.iou)
    label = matches.dt_class.copy()
    counts = matches.num_objects()
    if kind == "missed":
        counts = counts - np.bincount(matches.gt_class[found.is_missed], minlength=len(counts))
    else:
        chosen = found.dt_kind == _WITH_A_DETECTION.index(kind)
        # What cannot be made right is taken out.
        wrong = wrong & ~chosen
        corrected = _first_of_each_object(matches, found, np.flatnonzero(chosen))
        right[corrected] = True
        label[corrected] = matches.gt_class[found.dt_object[corrected]]
    return average_precisions(label, matches.dt_score, right, wrong, counts)


def _first_of_each_object(matches: Matches, found: Errors, detections: np.ndarray) -> Sequence[int]:
    """Of the detections about an object that nothing found, the one with the best score."""
    is_open = matches.found_by(found.iou) == NONE
    chosen = []
    for d in detections[ranked(matches.dt_score[detections])]:
        about = found.dt_object[d]
        if about != NONE and is_open[about]:
            is_open[about] = False
            chosen.append(int(d))
    return chosen
