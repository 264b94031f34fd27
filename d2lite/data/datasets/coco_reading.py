"""The content of a COCO file as dataset dicts."""

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from d2lite.data.records.faults import FaultLog, reading_faults
from d2lite.data.records.object_checks import box_around, mask_fault
from d2lite.structures import BoxMode
from d2lite.structures.masks import rle
from d2lite.utils.errors import DataError, UnknownCategoryError
from d2lite.utils.garbage_collection import paused_garbage_collection
from d2lite.utils.logger import log_first_n

from .coco_annotations import annotations_by_image, normalise_annotation
from .coco_file import coco_images

_FEW_BOXES = 10
_SMALL_SIDE = 100
PIXEL_CENTRE = 0.5
"""COCO counts keypoints by pixel number, d2lite by position: pixel i spans [i, i + 1)."""


def in_class_order(categories: dict[Any, str], class_names: Sequence[str] | None) -> dict[Any, str]:
    """Categories in the order of a list of class names, if the list has the same names.

    Args:
        categories: id -> name.
        class_names: the order wanted; None, or a list of other names, leaves the order.
    """
    if class_names is None or sorted(class_names) != sorted(categories.values()):
        return categories
    if len(set(class_names)) < len(class_names):
        return categories
    id_of = {label: number for number, label in categories.items()}
    return {id_of[label]: label for label in class_names}


@paused_garbage_collection()
def read_coco_objects(
    content: dict[str, Any],
    class_numbers: Mapping[Any, int | None],
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    extra_annotation_keys: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Turn the content of a COCO file into dataset dicts.

    Args:
        content: what the JSON holds; its annotations are normalised in place.
        class_numbers: id of a category -> number of the class; None for a class whose objects are
            left out.
        json_file: for messages.
        image_root: folder that the file names in it are relative to.
        extra_annotation_keys: as in `load_coco_json`.

    Returns:
        One dict an image, by ascending image id.
    """
    with reading_faults(str(json_file)) as faults:
        images = coco_images(content, json_file, faults, image_root=image_root)
        reader = _ObjectReader(class_numbers, extra_annotation_keys or (), str(json_file), faults)
        objects_of = annotations_by_image(content.get("annotations", ()), images, json_file, faults)
        records = []
        for image_id, image in images.items():
            record = {
                "file_name": os.path.join(image_root, image["file_name"]),
                "height": image["height"],
                "width": image["width"],
                "image_id": image_id,
            }
            found = (reader.read(annotation) for annotation in objects_of[image_id])
            record["annotations"] = [obj for obj in found if obj is not None]
            records.append(record)
        _refuse_shares(records, json_file)
    # Once: a run reads the file for its facts, its training and its evaluation.
    log_first_n(logging.INFO, f"{json_file}: {len(records)} images in COCO's format", key="message")
    return records


def _refuse_shares(records: Sequence[dict[str, Any]], json_file: Any) -> None:
    """Refuse boxes in shares of the image, which some converters write in place of pixels."""
    labelled = [record for record in records if record["annotations"]]
    boxes = [obj["bbox"] for record in labelled for obj in record["annotations"]]
    # Of fewer, all may be specks in a corner, if numbers are whole or images are small.
    is_enough = len(boxes) >= _FEW_BOXES or (
        any(value % 1 for box in boxes for value in box)
        and all(min(record["height"], record["width"]) >= _SMALL_SIDE for record in labelled)
    )
    if is_enough and all(max(box) <= 1 for box in boxes):
        raise DataError(
            f"{json_file}: no number of its {len(boxes)} boxes is above 1, for instance "
            f"{boxes[0]}. COCO has pixels; multiply by the width and height of the image."
        )


class _ObjectReader:
    """Turns COCO annotations into objects of a dataset dict, and counts what is left out."""

    def __init__(
        self,
        class_numbers: Mapping[Any, int | None],
        extra_keys: Sequence[str],
        json_file: str,
        faults: FaultLog,
    ) -> None:
        self._class_numbers = class_numbers
        self._keys = ("iscrowd", "bbox", *extra_keys)
        self._json_file = json_file
        self._faults = faults

    def read(self, annotation: dict[str, Any]) -> dict[str, Any] | None:
        """The object, or None if it is unusable or of a class that is left out."""
        fault = normalise_annotation(annotation)
        if fault is not None:
            self._refuse(fault[0], annotation, fault[1])
            return None
        category = annotation.get("category_id")
        if category not in self._class_numbers:
            known = ", ".join(map(str, list(self._class_numbers)[:20]))
            what = f"has category id {category}; 'categories' has {known}"
            self._refuse("unknown_category", annotation, what)
            return None
        number = self._class_numbers[category]
        if number is None:
            return None
        obj = {key: annotation[key] for key in self._keys if key in annotation}
        obj["category_id"] = number
        # Five numbers are a rotated box.
        is_rotated = len(obj.get("bbox", ())) == 5
        obj["bbox_mode"] = BoxMode.XYWHA_ABS if is_rotated else BoxMode.XYWH_ABS
        if "keypoints" in annotation:
            obj["keypoints"] = [
                value if i % 3 == 2 else value + PIXEL_CENTRE
                for i, value in enumerate(annotation["keypoints"])
            ]
        if "segmentation" in annotation:
            mask = self._mask(annotation)
            if mask is None:
                return None
            obj["segmentation"] = mask
            if "bbox" not in obj:
                # Some tools write masks alone.
                obj["bbox"] = _box_of(mask)
        return obj

    def _mask(self, annotation: dict[str, Any]) -> dict[str, Any] | list[list[float]] | None:
        """Compressed RLE or polygons of three points and more."""
        mask = annotation["segmentation"]
        if isinstance(mask, list):
            polygons = [p for p in mask if len(p) >= 6 and len(p) % 2 == 0]
            for number in range(len(polygons), len(mask)):
                is_lost = not polygons and number == len(mask) - 1
                self._faults.add("few_points", self._where(annotation), is_lost=is_lost)
            return polygons or None
        try:
            return rle.compressed(mask)
        except (TypeError, ValueError, OverflowError):
            self._refuse("bad_mask", annotation, "has counts that are not an RLE")
            return None

    def _where(self, annotation: dict[str, Any]) -> str:
        number, image_id = annotation.get("id"), annotation.get("image_id")
        return f"{self._json_file}: annotation {number} of image {image_id}"

    def _refuse(self, kind: str, annotation: dict[str, Any], what: str) -> None:
        text = f"{self._where(annotation)} {what}"
        error = UnknownCategoryError if kind == "unknown_category" else DataError
        self._faults.refuse(kind, text, error(f"{text}."))


def _box_of(mask: dict[str, Any] | list[list[float]]) -> list[float]:
    """The box of a mask, x, y, width and height."""
    is_valid = isinstance(mask, list) or not mask_fault(mask, *mask["size"])
    # A mask that does not decode is found, and counted, when objects are checked.
    x0, y0, x1, y1 = (box_around(mask) if is_valid else None) or [0.0] * 4
    return [x0, y0, x1 - x0, y1 - y0]
