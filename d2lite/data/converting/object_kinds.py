"""The objects of a labelled set as the writers need them, and what formats cannot hold of them."""

import re
from collections import Counter
from typing import Any

import numpy as np

from d2lite.data.datasets.by_string.labelme import is_internal
from d2lite.data.datasets.geometry import box_around_points, rectangle
from d2lite.structures import BoxMode

Record = dict[str, Any]

# Line breaks of any kind, control characters, halves of a character, and what XML excludes.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")

# A box that an outline cannot give back counts as lost from this distance on, in pixels.
TOLERANCE = 0.5

CROWDS, KEYPOINTS, MASKS = "crowd regions", "keypoints of objects", "masks (boxes are kept)"
TURNED, DIFFICULT = "rotated boxes", "marks 'difficult'"
TRACED, PARTS = "masks redrawn as outlines", "parts of masks joined into one outline"
BOXES = "boxes that differ from the box around their mask"
FLIPS = "pairs of keypoints that a flip exchanges"


def can_hold_class(kind: str, label: str) -> bool:
    """Whether a class of this name is read back from the files of a format."""
    if kind in ("coco", "yolo"):  # which have escapes for all characters
        return True
    is_one_line = bool(label) and label == label.strip() and not _UNPRINTABLE.search(label)
    return is_one_line and not (kind == "labelme" and is_internal(label))


def can_hold_object(kind: str, obj: Record) -> bool:
    """Whether a format has a place for an object at all."""
    if kind == "coco":
        return True
    is_turned = len(obj["bbox"]) != 4 and kind not in ("yolo", "labelme")
    return not obj.get("iscrowd") and not is_turned and (kind != "masks" or has_mask(obj))


def to_xyxy(obj: Record) -> list[float]:
    """The box of an object, corners in pixels."""
    return [float(v) for v in BoxMode.convert(obj["bbox"], obj["bbox_mode"], BoxMode.XYXY_ABS)]


def has_mask(obj: Record) -> bool:
    """Whether an object has a mask; an empty list of polygons is none."""
    return obj.get("segmentation") is not None and len(obj["segmentation"]) > 0


def plain_objects(
    record: Record, lost: Counter[str], *, keeps_keypoints: bool = False, keeps_turned: bool = False
) -> list[Record]:
    """The objects that formats of one shape an object can hold; what they lose is counted.

    Of a rotated box, a format of outlines gets the corners.
    """
    kept = []
    for obj in record.get("annotations", ()):
        lost[KEYPOINTS] += "keypoints" in obj and not keeps_keypoints
        lost[DIFFICULT] += bool(obj.get("difficult"))
        if obj.get("iscrowd"):
            lost[CROWDS] += 1
        elif len(obj["bbox"]) == 4:
            kept.append(obj)
        elif keeps_turned:
            cx, cy, w, h, degrees = (float(value) for value in obj["bbox"])
            edges = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
            corners = rectangle(*edges, -degrees)  # clockwise there
            box = box_around_points(corners)
            as_outline = {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "segmentation": [corners]}
            kept.append({**obj, **as_outline})
        else:
            lost[TURNED] += 1
    return kept


def compare_box(obj: Record, polygons: list[list[float]], lost: Counter[str]) -> None:
    """Readers take the box from the outline."""
    points = np.concatenate(polygons).reshape(-1, 2)
    around = np.concatenate([points.min(axis=0), points.max(axis=0)])
    lost[BOXES] += bool(np.abs(around - to_xyxy(obj)).max() > TOLERANCE)
