"""The JSON file of COCO's panoptic format: its entries in one form, and its classes."""

import contextlib
import os
from typing import Any

from d2lite.data.normal_forms import as_flag, as_id
from d2lite.utils.errors import DataError

from .coco_file import coco_categories
from .location import read_json

_IDS = {"id", "image_id", "category_id"}
_FLAGS = {"iscrowd", "isthing"}


def read_panoptic_json(json_file: str | os.PathLike[str]) -> dict[str, Any]:
    """Read an annotation file of COCO's panoptic format.

    Raises:
        MissingFileError: if the file is not there.
        DataError: if it has another format.
    """
    content = read_json("panoptic annotations", json_file)
    annotations = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(annotations, list) or any(
        not isinstance(a, dict) or "segments_info" not in a for a in annotations
    ):
        raise DataError(
            f"{json_file} is not in COCO's panoptic format: expected a JSON object whose "
            "'annotations' have 'image_id', 'file_name' and 'segments_info'. (An instances file "
            "is registered with register_coco_instances.)"
        )
    content["images"] = content.get("images") or []
    for annotation in annotations:
        annotation["segments_info"] = annotation["segments_info"] or []
        _normalise(annotation, *annotation["segments_info"])
    _normalise(*content["images"], *(content.get("categories") or ()))
    return content


def _normalise(*entries: Any) -> None:
    """Bring ids and flags, which some tools write as text, into their usual form, in place."""
    for entry in entries:
        if isinstance(entry, dict):
            # Nearly all are numbers, and COCO has more than a million segments.
            for key in _IDS:
                if type(entry.get(key, 0)) is not int and (number := as_id(entry[key])) is not None:
                    entry[key] = number
            for key in _FLAGS:
                if entry.get(key, 0) not in (0, 1):
                    # Other values are refused, or counted as a fault, where they are used.
                    with contextlib.suppress(TypeError, ValueError):
                        entry[key] = as_flag(entry[key])


def read_whole_panoptic_json(json_file: str | os.PathLike[str]) -> dict[str, Any]:
    """`read_panoptic_json` for those who cannot leave out entries that lack something.

    Raises:
        DataError: if an annotation or a segment lacks an id or a file name.
    """
    content = read_panoptic_json(json_file)
    for place, annotation in enumerate(content["annotations"]):
        lacking = {"image_id", "file_name"} - annotation.keys()
        for segment in annotation["segments_info"]:
            lacking |= {f"{key} of a segment" for key in {"category_id", "id"} - segment.keys()}
        if lacking:
            raise DataError(
                f"{json_file}: entry {place} of 'annotations' (image "
                f"{annotation.get('image_id')!r}) lacks {', '.join(sorted(lacking))}."
            )
    return content


def panoptic_classes(content: dict[str, Any], json_file: Any) -> dict[str, Any]:
    """Class names and numbers as the categories of a panoptic file give them.

    Things come first, then stuff, each by ascending id, in one row of numbers.

    Returns:
        thing_classes, stuff_classes (by number, so things are in it), and the two maps of ids.

    Raises:
        DataError: if a category lacks its id, its name or "isthing".
    """
    names = coco_categories(content, json_file)
    is_thing = {as_id(c["id"]): c.get("isthing") for c in content["categories"]}
    lacking = [names[number] for number in names if is_thing[number] not in (0, 1)]
    if lacking:
        raise DataError(
            f"{json_file}: the categories {', '.join(lacking[:5])} do not say 'isthing' 0 or 1, so "
            "things cannot be distinguished from stuff. Add it, or register the dataset with "
            "thing_dataset_id_to_contiguous_id and stuff_dataset_id_to_contiguous_id."
        )
    things = [number for number in names if is_thing[number]]
    stuff = [number for number in names if not is_thing[number]]
    return {
        "thing_classes": [names[number] for number in things],
        "stuff_classes": [names[number] for number in (*things, *stuff)],
        "thing_dataset_id_to_contiguous_id": {n: i for i, n in enumerate(things)},
        "stuff_dataset_id_to_contiguous_id": {n: i for i, n in enumerate(stuff, len(things))},
    }
