"""The annotations of a COCO file, whichever tool wrote it, brought into COCO's own form once."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from d2lite.data.normal_forms import as_box, as_flag, as_id, as_mask, as_number, as_numbers
from d2lite.data.records.faults import FaultLog
from d2lite.structures.masks import rle
from d2lite.utils.errors import DataError


class NormalAnnotations(list[dict[str, Any]]):
    """Annotations that `normalise_annotation` has accepted; nobody has to do it again."""


def annotations_by_image(
    annotations: Iterable[Any], images: Mapping[Any, Any], json_file: Any, faults: FaultLog
) -> dict[Any, list[dict[str, Any]]]:
    """The annotations of each image; those of unknown images are counted and left out."""
    objects_of: dict[Any, list[dict[str, Any]]] = {image_id: [] for image_id in images}
    ids: Counter[Any] = Counter()
    for place, annotation in enumerate(annotations):
        if not isinstance(annotation, dict):
            text = f"{json_file}: entry {place} of 'annotations' is {str(annotation)[:80]}"
            faults.refuse("malformed", text, DataError(f"{text}, not an object."))
            continue
        image_id = annotation.get("image_id")
        if type(image_id) is not int:
            image_id = as_id(image_id)
        number = annotation.get("id")
        ids[number if type(number) is int else as_id(number)] += 1
        if image_id in objects_of:
            objects_of[image_id].append(annotation)
        else:
            faults.add("unknown_image", f"{json_file}: annotation {number} of image {image_id}")
    for number, count in ids.items():
        if count > 1 and number is not None:
            faults.add("duplicate_annotation_id", f"{json_file}: id {number}, {count} times")
    return objects_of


def normalise_annotation(annotation: dict[str, Any]) -> tuple[str, str] | None:
    """Bring an annotation into the form that COCO defines, in place.

    Ids become numbers where they can, "iscrowd" 0 or 1, "bbox" a list of four or five numbers,
    "segmentation" lists of polygons or one RLE, "keypoints" a flat list. What is null or empty is
    removed, and so is an "area" that is not a number. Values may still be impossible: those are
    found when objects are checked.

    Returns:
        The kind of `FAULTS` and what is wrong, in words, if it cannot be understood; else None.
    """
    for key in ("id", "image_id", "category_id"):
        if key in annotation and type(annotation[key]) is not int:
            annotation[key] = as_id(annotation[key])
            if annotation[key] is None:
                del annotation[key]
    crowd = annotation.get("iscrowd", 0)
    if type(crowd) is not int or crowd not in (0, 1):
        try:
            annotation["iscrowd"] = as_flag(crowd)
        except (TypeError, ValueError):
            return "malformed", f"has iscrowd {crowd!r}, not 0 or 1"
    if "area" in annotation:
        _normalise_area(annotation)
    box, mask = annotation.get("bbox"), annotation.get("segmentation")
    if mask and box in (None, []):
        annotation.pop("bbox", None)
    else:
        try:
            annotation["bbox"] = as_box(box)
        except (TypeError, ValueError):
            annotation["bbox"] = ()
        if len(annotation["bbox"]) not in (4, 5):
            annotation["bbox"] = box
            return "malformed", f"has the box {str(box)[:80]}, not [x, y, width, height]"
    if "segmentation" in annotation:
        try:
            mask = as_mask(mask)
        except (TypeError, ValueError, KeyError, OverflowError, RecursionError) as err:
            what = "neither polygons nor RLE" if isinstance(err, TypeError) else str(err)
            return "bad_mask", f"has a segmentation that is {what}"
        if mask is None:
            del annotation["segmentation"]
        else:
            is_bitmap = isinstance(mask, np.ndarray)
            annotation["segmentation"] = rle.encode(mask != 0) if is_bitmap else mask
    return _normalise_keypoints(annotation) if "keypoints" in annotation else None


def _normalise_area(annotation: dict[str, Any]) -> None:
    if type(annotation["area"]) in (int, float) and 0 <= annotation["area"] < 2**63:
        return
    try:
        area = as_number(annotation["area"])
    except (TypeError, ValueError):
        area = math.nan
    annotation["area"] = area
    if not 0 <= area < math.inf:
        del annotation["area"]


def _normalise_keypoints(annotation: dict[str, Any]) -> tuple[str, str] | None:
    points = annotation["keypoints"]
    try:
        if points and isinstance(points[0], list | tuple):
            points = [value for point in points for value in point]
        points = as_numbers(points) if points else []
    except (TypeError, ValueError, KeyError):
        points = [0]
    if len(points) % 3:
        return "malformed", "has keypoints that are not x, y and visibility of each"
    annotation["keypoints"] = points
    if not points:
        del annotation["keypoints"]
    elif type(annotation.get("num_keypoints", 0)) is not int:
        annotation["num_keypoints"] = sum(visible > 0 for visible in points[2::3])
    return None
