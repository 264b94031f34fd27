"""The writer of YOLO's files: boxes and outlines, or poses where the objects have keypoints."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from d2lite.utils.file_io import atomic_write

from .labelled_set import LabelledSet
from .object_kinds import (
    MASKS,
    PARTS,
    TRACED,
    Record,
    compare_box,
    has_mask,
    plain_objects,
    to_xyxy,
)
from .outlines import as_polygons, joined


def write_yolo(
    data: LabelledSet, names: Sequence[str], folder: Path, split: str, lost: Counter[str]
) -> str:
    """labels/SPLIT/NAME.txt and data.yaml; a box or one outline an object, or box and keypoints."""
    is_pose = bool(data.keypoint_names)
    for name, record in zip(names, data.records, strict=True):
        size = [record["width"], record["height"]]
        lines = []
        objects = plain_objects(record, lost, keeps_keypoints=is_pose, keeps_turned=not is_pose)
        for obj in objects:
            if is_pose:
                lost[MASKS] += has_mask(obj)
                shares = _box_shares(obj, size) + _keypoint_shares(obj, data, size)
            else:
                outline = _outline(obj, record, lost)
                shares = _box_shares(obj, size) if outline is None else _shares(outline, size)
            numbers = " ".join(f"{value:.12g}" for value in shares)
            lines.append(f"{obj['category_id']} {numbers}\n")
        with atomic_write(folder / "labels" / split / f"{Path(name).stem}.txt") as file:
            file.writelines(lines)
    path = folder / "data.yaml"
    known = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    splits = {key: value for key, value in known.items() if isinstance(value, str)}
    content = {**splits, split: f"images/{split}", **(_pose_keys(data) if is_pose else {})}
    content["names"] = dict(enumerate(data.classes))
    with atomic_write(path) as file:
        yaml.safe_dump(content, file, allow_unicode=True, sort_keys=False)
    return f"yolo:{path}@{split}"


def _pose_keys(data: LabelledSet) -> dict[str, Any]:
    keys: dict[str, Any] = {"kpt_shape": [len(data.keypoint_names), 3]}
    if data.keypoint_flips:
        keys["flip_idx"] = list(data.keypoint_flips)
    # Ultralytics has a list of names for each class; all are the same here.
    names = list(data.keypoint_names)
    return {**keys, "kpt_names": {number: list(names) for number in range(len(data.classes))}}


def _shares(flat: Sequence[float], size: list[int]) -> list[float]:
    shares: list[float] = (np.asarray(flat).reshape(-1, 2) / size).reshape(-1).tolist()
    return shares


def _box_shares(obj: Record, size: list[int]) -> list[float]:
    x0, y0, x1, y1 = to_xyxy(obj)
    return _shares([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], size)


def _keypoint_shares(obj: Record, data: LabelledSet, size: list[int]) -> list[float]:
    """Position and visibility of each keypoint; of an object without, points that nobody marked."""
    flat = obj.get("keypoints")
    if flat is None:
        return [0.0] * (3 * len(data.keypoint_names))
    points = np.asarray(flat, dtype=float).reshape(-1, 3) / [*size, 1]
    points[points[:, 2] == 0] = 0
    shares: list[float] = points.reshape(-1).tolist()
    return shares


def _outline(obj: Record, record: Record, lost: Counter[str]) -> list[float] | None:
    """One polygon of an object's mask; None where it has no mask with an area."""
    if not has_mask(obj):
        return None
    polygons, was_given = as_polygons(obj["segmentation"], record["height"], record["width"])
    if not polygons:
        return None
    lost[TRACED] += not was_given
    lost[PARTS] += len(polygons) - 1
    compare_box(obj, polygons, lost)
    return joined(polygons)
