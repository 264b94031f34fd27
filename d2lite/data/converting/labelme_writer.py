"""The writer of LabelMe's files."""

import base64
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from d2lite.data.datasets.by_string.labelme import CLASS_LIST
from d2lite.utils.file_io import write_file, write_json_file
from d2lite.visualization.generic_mask import GenericMask

from .labelled_set import LabelledSet
from .object_kinds import (
    BOXES,
    FLIPS,
    TOLERANCE,
    Record,
    compare_box,
    has_mask,
    plain_objects,
    to_xyxy,
)
from .outlines import as_polygons


def write_labelme(
    data: LabelledSet, names: Sequence[str], folder: Path, split: str, lost: Counter[str]
) -> str:
    """SPLIT/NAME.json beside each image, and labels.txt with all classes above the splits."""
    lost[FLIPS] += data.num_unnamed_flips
    marked: set[str] = set()
    for name, record in zip(names, data.records, strict=True):
        shapes = []
        objects = plain_objects(record, lost, keeps_keypoints=True, keeps_turned=True)
        for number, obj in enumerate(objects):
            shapes += _labelme_shapes(obj, record, data, number, lost)
            marked |= {name for name, _, _, visible in _keypoints(obj, data) if visible}
        content: dict[str, Any] = {
            "version": "5.4.1",
            "flags": {},
            "shapes": shapes,
            "imagePath": name,
            "imageData": None,
            "imageHeight": int(record["height"]),
            "imageWidth": int(record["width"]),
        }
        write_json_file(
            folder / split / f"{Path(name).stem}.json", content, ensure_ascii=False, indent=1
        )
    lost["names of keypoints that no object has"] += len(set(data.keypoint_names) - marked)
    write_file(folder / CLASS_LIST, "".join(f"{label}\n" for label in data.classes))
    return f"labelme:{folder / split}"


def _labelme_shapes(
    obj: Record, record: Record, data: LabelledSet, number: int, lost: Counter[str]
) -> list[Record]:
    """A rectangle, a polygon for each part or a mask, and points; joined by a group's number."""
    label = data.classes[obj["category_id"]]
    found: list[tuple[str, str, list[float], Record]] = []
    if not has_mask(obj):
        found.append((label, "rectangle", to_xyxy(obj), {}))
    elif isinstance(obj["segmentation"], list):
        polygons, _ = as_polygons(obj["segmentation"], record["height"], record["width"])
        compare_box(obj, polygons, lost)
        found += [(label, "polygon", polygon, {}) for polygon in polygons]
    else:
        corners, png = _labelme_mask(obj, record)
        around = np.add(corners, [0, 0, 1, 1])
        lost[BOXES] += bool(np.abs(around - to_xyxy(obj)).max() > TOLERANCE)
        found.append((label, "mask", corners, {"mask": png}))
    for name, x, y, visible in _keypoints(obj, data):
        if visible:
            # As X-AnyLabeling marks hidden keypoints.
            found.append((name, "point", [x, y], {"difficult": visible == 1}))
    return [
        {
            "label": text,
            "points": [[x, y] for x, y in zip(flat[0::2], flat[1::2], strict=True)],
            "group_id": number if len(found) > 1 else None,
            "shape_type": kind,
            "flags": {},
            **more,
        }
        for text, kind, flat, more in found
    ]


def _keypoints(obj: Record, data: LabelledSet) -> list[tuple[str, float, float, int]]:
    flat = [float(value) for value in obj.get("keypoints", ())]
    rows = zip(data.keypoint_names, flat[0::3], flat[1::3], flat[2::3], strict=False)
    return [(name, x, y, int(visible)) for name, x, y, visible in rows]


def _labelme_mask(obj: Record, record: Record) -> tuple[list[float], str]:
    """The first and the last pixel of a mask, x0, y0, x1, y1, and its PNG in base64."""
    mask = GenericMask(obj["segmentation"], record["height"], record["width"]).mask
    ys, xs = np.nonzero(mask)
    y0, y1, x0, x1 = ys.min(), ys.max(), xs.min(), xs.max()
    stream = io.BytesIO()
    Image.fromarray(mask[y0 : y1 + 1, x0 : x1 + 1] * np.uint8(255)).save(stream, format="PNG")
    png = base64.b64encode(stream.getvalue()).decode()
    return [float(x0), float(y0), float(x1), float(y1)], png
