"""Faults of single objects: what is wrong with a box, a polygon, a mask, and what stays of it.

The functions look at objects of dataset dicts, whatever format they came from.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from d2lite.structures import BoxMode
from d2lite.structures.masks import rle

from ..normal_forms import as_mask
from .faults import FaultLog

# Tools round boxes to whole pixels, or name the last pixel in place of the edge after it.
_SLACK = 1.0

Record = dict[str, Any]


def box_fault(xyxy: Sequence[float], height: float, width: float) -> str | None:
    """What is wrong with a box.

    Args:
        xyxy: corners in pixels.
        height: of the image.
        width: of the image.

    Returns:
        "bad_box", "box_outside", "box_beyond" or None.
    """
    x0, y0, x1, y1 = xyxy
    if not all(map(math.isfinite, xyxy)) or x1 <= x0 or y1 <= y0:
        return "bad_box"
    if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
        return "box_outside"
    is_beyond = min(x0, y0) < -_SLACK or x1 > width + _SLACK or y1 > height + _SLACK
    return "box_beyond" if is_beyond else None


def polygon_fault(polygon: Any) -> str | None:
    """What is wrong with a polygon x0, y0, x1, y1, ...

    Returns:
        "few_points", "far_polygon" or None.
    """
    try:
        if len(polygon) < 6 or len(polygon) % 2:
            return "few_points"
        numbers = polygon.tolist() if isinstance(polygon, np.ndarray) else polygon
        return None if rle.can_draw(numbers) else "far_polygon"
    except (TypeError, ValueError, OverflowError):
        return "few_points"


def is_valid_polygon(polygon: Any) -> bool:
    """Whether x0, y0, x1, y1, ... are three or more points that can be drawn."""
    return polygon_fault(polygon) is None


def mask_fault(mask: Any, height: int, width: int) -> str | None:
    """What is wrong with a mask that is not a list of polygons.

    Args:
        mask: COCO's RLE, packed or as counts, or a (H, W) array.
        height: of the image.
        width: of the image.

    Returns:
        "bad_mask" or None.
    """
    if isinstance(mask, np.ndarray):
        return None if mask.shape == (height, width) else "bad_mask"
    try:
        counts, size = mask["counts"], tuple(mask["size"])
        runs = np.asarray(counts) if isinstance(counts, list) else unpack_runs(counts)
        fills = int(runs.sum()) == height * width and int(runs.min(initial=0)) >= 0
    except (KeyError, TypeError, ValueError, OverflowError):
        return "bad_mask"
    return None if fills and size == (height, width) else "bad_mask"


def unpack_runs(packed: str | bytes) -> np.ndarray:
    """The lengths of the runs of a packed RLE, without drawing it.

    A length takes several characters of five bits each, lowest first, whose sixth bit says that
    more follow; from the fourth length on the difference to the last but one stands there.

    Args:
        packed: COCO's "counts".

    Returns:
        (runs,) int64.

    Raises:
        ValueError: if it has other characters or ends within a length.
    """
    raw = packed.encode("ascii") if isinstance(packed, str) else packed
    chunks = np.frombuffer(raw, dtype=np.uint8).astype(np.int64) - 48
    if len(chunks) == 0 or chunks.min() < 0 or chunks.max() > 63 or chunks[-1] & 32:
        raise ValueError("not a packed RLE")
    ends = np.flatnonzero((chunks & 32) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(chunks)) - np.repeat(starts, ends - starts + 1)
    if place.max() > 6:
        raise ValueError("a run longer than any image")
    values = np.add.reduceat((chunks & 31) << (5 * place), starts)
    # The highest of a length's bits is its sign.
    values -= np.where(chunks[ends] & 16, np.int64(1) << (5 * (place[ends] + 1)), 0)
    values[2::2] = values[2::2].cumsum()
    values[1::2] = values[1::2].cumsum()
    return values


def valid_object(
    obj: Record, record: Record, faults: FaultLog, *, cut: bool = True
) -> Record | None:
    """An object without its faults.

    Args:
        obj: of a dataset dict; it is not changed.
        record: its image, with "height" and "width".
        faults: found faults are written into it.
        cut: cut boxes that reach beyond the image.

    Returns:
        The object itself if nothing is wrong with it, a corrected copy, or None if it is skipped.
    """
    size = record["height"], record["width"]
    if "keypoints" in obj and not _is_finite(obj["keypoints"]):
        faults.add("malformed", f"{place_of(obj, record)}: keypoints that are not numbers")
        return None
    if "segmentation" in obj:
        checked = _with_valid_mask(obj, record, size, faults)
        if checked is None:
            return None
        obj = checked
    if obj.get("bbox") is None:
        box = box_around(obj.get("segmentation"))
        if box is None:
            faults.add("malformed", f"{record.get('file_name')}: neither box nor mask")
            return None
        obj = {**obj, "bbox": box, "bbox_mode": BoxMode.XYXY_ABS}
    return _with_valid_box(obj, record, faults, cut)


def _is_finite(values: Any) -> bool:
    try:
        return bool(np.isfinite(np.asarray(values, dtype=float)).all())
    except (TypeError, ValueError, OverflowError):
        return False


def _with_valid_mask(
    obj: Record, record: Record, size: tuple[int, int], faults: FaultLog
) -> Record | None:
    try:
        mask = as_mask(obj["segmentation"])
    except (TypeError, ValueError, KeyError, OverflowError, RecursionError):
        faults.add("bad_mask", place_of(obj, record))
        return None
    if isinstance(mask, list):
        found = [polygon_fault(polygon) for polygon in mask]
        if any(found):
            valid = [p for p, fault in zip(mask, found, strict=True) if fault is None]
            bad = [fault for fault in found if fault is not None]
            for number, fault in enumerate(bad, start=1):
                is_lost = number == len(bad) and not valid
                faults.add(fault, place_of(obj, record), is_lost=is_lost)
            if not valid:
                return None
            mask = valid
    elif mask is not None and mask_fault(mask, *size):
        faults.add("bad_mask", place_of(obj, record))
        return None
    if mask is None:
        return {key: value for key, value in obj.items() if key != "segmentation"}
    return obj if mask is obj["segmentation"] else {**obj, "segmentation": mask}


def place_of(obj: Record, record: Record) -> str:
    """Which object of which image, for messages."""
    box = obj.get("bbox")
    if isinstance(box, list | tuple):
        # Hundredths of a pixel are enough to find an object; 201.32479999999998 is hard to read.
        box = [round(v, 2) if isinstance(v, float) else v for v in box]
    return f"{record.get('file_name')}, box {box}"


def box_around(mask: Any) -> list[float] | None:
    """The (4,) xyxy box of a valid mask of any kind, in pixels; None where there is no mask."""
    if isinstance(mask, np.ndarray):
        mask = rle.encode(mask)
    if not mask:
        return None
    if isinstance(mask, list):
        xs = [x for polygon in mask for x in polygon[0::2]]
        ys = [y for polygon in mask for y in polygon[1::2]]
        return [min(xs), min(ys), max(xs), max(ys)]
    x, y, w, h = rle.box_xywh(mask)
    return [x, y, x + w, y + h]


def _with_valid_box(obj: Record, record: Record, faults: FaultLog, cut: bool) -> Record | None:
    height, width = record["height"], record["width"]
    try:
        values = [float(value) for value in obj["bbox"]]
        xyxy = _corners(values, obj["bbox_mode"])
    except (KeyError, TypeError, ValueError, OverflowError):
        faults.add("malformed", place_of(obj, record))
        return None
    fault = box_fault(xyxy, height, width)
    if fault is None:
        return obj
    if fault != "box_beyond" or len(values) == 4:
        faults.add(fault, place_of(obj, record))
    if fault != "box_beyond":
        return None
    if len(values) != 4 or not cut:  # a rotated box may well look over the edge
        return obj
    x0, y0, x1, y1 = xyxy
    inner = [max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))]
    if obj["bbox_mode"] == BoxMode.XYWH_ABS:
        inner = [inner[0], inner[1], inner[2] - inner[0], inner[3] - inner[1]]
        return {**obj, "bbox": inner}
    return {**obj, "bbox": inner, "bbox_mode": BoxMode.XYXY_ABS}


def _corners(values: list[float], mode: BoxMode) -> list[float]:
    """Xyxy of a box of any mode; of a rotated one, as if it were upright."""
    if mode == BoxMode.XYXY_ABS:
        x0, y0, x1, y1 = values
        return [x0, y0, x1, y1]
    if mode == BoxMode.XYWH_ABS and len(values) == 4:
        x, y, w, h = values
        return [x, y, x + w, y + h]
    x, y, w, h, _ = values  # centre and size
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def drop_invalid(records: list[Record], faults: FaultLog, *, cut: bool = True) -> list[Record]:
    """Dataset dicts without the objects that cannot be used.

    Args:
        records: they are not changed; images without objects, or without a size, stay as they are.
        faults: found faults are written into it.
        cut: cut boxes that reach beyond their image.

    Returns:
        The same dicts, and new ones where an object changes or goes.
    """
    result = []
    for record in records:
        objects = record.get("annotations")
        if objects and record.get("height") and record.get("width"):
            valid = [valid_object(obj, record, faults, cut=cut) for obj in objects]
            if any(new is not old for new, old in zip(valid, objects, strict=True)):
                record = {**record, "annotations": [obj for obj in valid if obj is not None]}
        result.append(record)
    return result
