"""Dataset dicts of people's own functions, brought into the form that readers of files give.

Ids, sizes and classes may be scalars of numpy or text, boxes and masks arrays or tensors.
"""

import os
from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np

from d2lite.structures import BoxMode
from d2lite.utils.errors import DataError, InputTypeError, MissingFileError

from ..catalog import DatasetCatalog
from ..classes import OrderedLoader
from ..normal_forms import as_flag, as_id, as_mask, as_numbers, as_side
from .faults import FaultLog, reading_faults
from .image_sizes import image_size
from .object_checks import box_around

Records = list[dict[str, Any]]

_BOX_MODES = (BoxMode.XYXY_ABS, BoxMode.XYWH_ABS, BoxMode.XYWHA_ABS)
# Class numbers are counted in arrays.
_MOST_CLASSES = 2**31


def load_records(name: str) -> Records:
    """The dataset dicts of one set, in the form that `plain_records` gives them.

    Raises:
        DataError: if there are no images, or their entries are not dataset dicts.
        UnknownNameError: if the name is not registered.
    """
    return plain_records(name, DatasetCatalog.get(name))


def plain_records(name: str, records: Sequence[Any]) -> Records:
    """Dataset dicts with plain numbers, and without objects that cannot be understood.

    Where no image of a set with annotations has an id, images are numbered from 0; where an image
    has no size, it is read from the file.

    Args:
        name: of the dataset. Sets that this library reads from files are in this form already.
        records: what its function gave.

    Returns:
        The records that needed no change, and copies of the others.

    Raises:
        InputTypeError: if it gave None, or something that has no length.
        DataError: if there are no images, or an entry is not a dataset dict; for an object that
            cannot be understood only where nobody collects faults.
    """
    if not isinstance(records, Sized):
        raise InputTypeError(
            f"The function registered for dataset {name!r} returned {type(records).__name__}; "
            "expected a list of dicts, one for each image. None: is its `return` missing? A "
            "generator: put list(...) around it, since the data are read more than once."
        )
    if not len(records):
        raise DataError(
            f"Dataset {name!r} has no images. Check the file or folder that it is registered with."
        )
    records = list(records)
    if isinstance(DatasetCatalog.data.get(name), OrderedLoader):
        return records
    for place, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise DataError(
                f"Entry {place} of dataset {name!r} is of type {type(record).__name__}; expected "
                "a dict with 'file_name', 'image_id', 'height', 'width' and 'annotations'."
            )
    has_id = [_has_id(record) for record in records]
    if any(has_id) and not all(has_id):
        raise DataError(
            f"{has_id.count(False)} of {len(records)} images of dataset {name!r} have no "
            f"'image_id', for instance {records[has_id.index(False)].get('file_name')}. Give all "
            "images different ids, or none."
        )
    with reading_faults(name) as faults:
        return [
            _with_plain_objects(_plain(record, place), faults)
            for place, record in enumerate(records)
        ]


def _has_id(record: Mapping[str, Any]) -> bool:
    # Images with maps of classes alone need none.
    return record.get("image_id") is not None or "annotations" not in record


def _plain(record: Mapping[str, Any], place: int) -> dict[str, Any]:
    """The record itself where its name and numbers are plain already, else a copy."""
    changes: dict[str, Any] = {}
    wrong = []
    if not isinstance(record.get("file_name", ""), str | os.PathLike):
        wrong.append("file_name")
    number = record.get("image_id")
    if type(number) is not int and (number is not None or not _has_id(record)):
        changes["image_id"] = place if number is None else as_id(number)
        wrong += ["image_id"] if changes["image_id"] is None else []
    sizes = {key: as_side(record.get(key)) for key in ("height", "width")}
    if None in sizes.values():
        sizes = _measured(record) if "annotations" in record else {}
        changes.update(dict.fromkeys({"height", "width"} & record.keys()), **sizes)
    elif any(value is not record[key] for key, value in sizes.items()):
        changes.update(sizes)
    if wrong:
        shown = ", ".join(f"{key} {record.get(key)!r}" for key in wrong)
        raise DataError(
            f"The image {record.get('file_name')} has {shown}. Expected a path as file_name, a "
            "whole number or text as image_id."
        )
    if not changes and type(record) is dict:
        return record
    changed = {**record, **changes}
    return {k: v for k, v in changed.items() if v is not None or k not in ("height", "width")}


def _measured(record: Mapping[str, Any]) -> dict[str, int | None]:
    """Height and width of the image file; {} where it cannot be read here."""
    try:
        size = image_size(Path(str(record["file_name"])))
    except (KeyError, DataError, MissingFileError):
        return {}
    return {"height": size[0], "width": size[1]}


def _with_plain_objects(record: dict[str, Any], faults: FaultLog) -> dict[str, Any]:
    objects = record.get("annotations", ())
    if not isinstance(objects, list | tuple):
        raise DataError(
            f"The image {record.get('file_name')} has 'annotations' of type "
            f"{type(objects).__name__}; expected a list of dicts."
        )
    plain = []
    for obj in objects:
        try:
            plain.append(plain_object(obj))
        except (TypeError, ValueError, KeyError, OverflowError, RecursionError, IndexError) as err:
            reason = f"no {err}" if isinstance(err, KeyError) else str(err)
            text = f"{record.get('file_name')}: an object cannot be understood ({reason})"
            faults.refuse("malformed", text, DataError(f"{text}: {str(obj)[:200]}"))
    is_same = len(plain) == len(objects) and all(map(lambda a, b: a is b, plain, objects))
    return record if is_same else {**record, "annotations": plain}


def plain_object(obj: Any) -> dict[str, Any]:
    """An object of a dataset dict with plain numbers; itself where nothing changes.

    Raises:
        TypeError, ValueError, KeyError, OverflowError, IndexError: if it cannot be understood.
    """
    if not isinstance(obj, Mapping):
        raise TypeError(f"{type(obj).__name__} in place of a dict")
    changes: dict[str, Any] = {"category_id": as_id(obj["category_id"])}
    category = changes["category_id"]
    if not isinstance(category, int) or not 0 <= category < _MOST_CLASSES:
        raise ValueError(f"category_id {obj['category_id']!r} is not a class number")
    if "iscrowd" in obj:
        changes["iscrowd"] = as_flag(obj["iscrowd"])
    if "segmentation" in obj:
        changes["segmentation"] = as_mask(obj["segmentation"])
    if obj.get("keypoints") is not None:
        changes["keypoints"] = _plain_points(obj["keypoints"])
    if obj.get("bbox") is None:
        corners = box_around(changes.get("segmentation"))
        if corners is not None:
            changes.update(bbox=corners, bbox_mode=BoxMode.XYXY_ABS)
    else:
        changes.update(_plain_box(obj["bbox"], obj["bbox_mode"]))
    if type(obj) is dict and all(obj.get(key, _UNSET) is new for key, new in changes.items()):
        return obj
    changed = {**obj, **changes}
    return {
        key: value
        for key, value in changed.items()
        if value is not None or key not in ("segmentation", "keypoints")
    }


_UNSET = object()


def _plain_box(box: Any, mode: Any) -> dict[str, Any]:
    if not _is_plain_array(box, 1):
        box = as_numbers(box)
    if len(box) not in (4, 5):
        raise ValueError(f"a box of {len(box)} numbers")
    mode = BoxMode.XYWHA_ABS if len(box) == 5 else mode if type(mode) is BoxMode else BoxMode(mode)
    if mode not in _BOX_MODES or (mode == BoxMode.XYWHA_ABS) != (len(box) == 5):
        raise ValueError(f"a box of {len(box)} numbers with the bbox_mode {mode!r}")
    return {"bbox": box, "bbox_mode": mode}


def _plain_points(points: Any) -> Any:
    if not _is_plain_array(points, 2):
        flat = points
        if len(points) and isinstance(points[0], list | tuple | np.ndarray):
            flat = [value for point in points for value in point]
        points = as_numbers(flat)
    if np.size(points) % 3:
        raise ValueError(f"keypoints of {np.size(points)} numbers, not 3 for each")
    return points if np.size(points) else None


def _is_plain_array(value: Any, most_axes: int) -> bool:
    return (
        isinstance(value, np.ndarray) and value.dtype.kind in "fiu" and 1 <= value.ndim <= most_axes
    )
