"""The parts of a COCO annotation file: its categories, its images, its objects."""

import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from d2lite.data.faults import FaultLog, reading_faults
from d2lite.data.object_checks import box_around, mask_fault
from d2lite.structures import BoxMode
from d2lite.structures.masks import rle
from d2lite.utils.errors import DataError

from .location import read_json

logger = logging.getLogger(__name__)

PIXEL_CENTRE = 0.5
"""COCO counts keypoints by pixel number, d2lite by position: pixel i spans [i, i + 1)."""


def read_coco_json(json_file: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of a COCO file, which has at least a list of images."""
    content = read_json("COCO annotations", json_file)
    if not isinstance(content, dict) or "images" not in content:
        raise DataError(
            f"{json_file} is not a COCO annotation file: it has no list 'images'. Expected a "
            "JSON object with 'images', 'annotations' and 'categories'."
        )
    return content


def coco_categories(content: dict[str, Any], json_file: Any) -> dict[Any, str]:
    """Category id -> name, by ascending id, without a placeholder.

    Raises:
        DataError: if there are none, or an id occurs twice.
    """
    categories = sorted(content.get("categories") or (), key=lambda category: category["id"])
    ids = [category["id"] for category in categories]
    twice = sorted(number for number, count in Counter(ids).items() if count > 1)
    if twice:
        raise DataError(f"{json_file} defines the category ids {twice} more than once.")
    if not categories:
        raise DataError(
            f"{json_file} has no 'categories'; expected a list of {{'id', 'name'}} objects."
        )
    if _is_placeholder(categories[0], content):
        logger.info(
            "%s: left out category %s, %r: it has no objects and only groups the others, as "
            "Roboflow writes it.",
            json_file,
            ids[0],
            categories[0]["name"],
        )
        del categories[0], ids[0]
    if ids != list(range(1, len(ids) + 1)):
        logger.info(
            "Category ids of %s run from %s to %s for %d classes; they are renumbered from 0, "
            "in ascending order.",
            json_file,
            ids[0],
            ids[-1],
            len(ids),
        )
    return {category["id"]: str(category["name"]) for category in categories}


def _is_placeholder(first: dict[str, Any], content: dict[str, Any]) -> bool:
    """Whether category 0 stands for the group of all others and not for a class.

    A class that merely has no object in this file must keep its number.
    """
    is_group = any(
        category["id"] != 0 and category.get("supercategory") == first["name"]
        for category in content["categories"]
    )
    objects = content.get("annotations") or ()
    return first["id"] == 0 and is_group and all(o.get("category_id") != 0 for o in objects)


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


def read_coco_objects(
    content: dict[str, Any],
    categories: dict[Any, str],
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    extra_annotation_keys: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Turn the content of a COCO file into dataset dicts.

    Args:
        content: what the JSON holds.
        categories: id -> name, in the order in which classes are numbered.
        json_file: for messages.
        image_root: folder that the file names in it are relative to.
        extra_annotation_keys: as in `load_coco_json`.

    Returns:
        One dict an image, by ascending image id.
    """
    index_of = {number: index for index, number in enumerate(categories)}
    with reading_faults(str(json_file)) as faults:
        images = _images(content, json_file, faults)
        reader = _ObjectReader(index_of, extra_annotation_keys or (), str(json_file), faults)
        objects_of = _by_image(content.get("annotations", ()), images, json_file, faults)
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
    logger.info("%s: %d images in COCO's format", json_file, len(records))
    return records


def _images(content: dict[str, Any], json_file: Any, faults: FaultLog) -> dict[Any, dict[str, Any]]:
    """The image entries by id, in ascending order."""
    images: dict[Any, dict[str, Any]] = {}
    ambiguous = set()
    for image in sorted(content["images"], key=lambda entry: entry["id"]):
        number = image["id"]
        lacking = [key for key in ("file_name", "height", "width") if not image.get(key)]
        if lacking:
            text = f"{json_file}: image {number} lacks {', '.join(lacking)}."
            faults.refuse("incomplete_image", text[:-1], DataError(text))
            continue
        other = images.setdefault(number, image)
        if other is image:
            continue
        names = f"{other['file_name']} and {image['file_name']}"
        text = f"{json_file} has two images of id {number}: {names}. Ids must differ."
        is_same = other["file_name"] == image["file_name"]
        kind = "repeated_image" if is_same else "duplicate_image_id"
        faults.refuse(kind, f"id {number}: {names}", DataError(text))
        if not is_same and number not in ambiguous:
            # Whose the annotations are is not known, so both go.
            ambiguous.add(number)
            faults.lost_images += 1
    return {number: image for number, image in images.items() if number not in ambiguous}


def _by_image(
    annotations: Iterable[dict[str, Any]], images: dict[Any, Any], json_file: Any, faults: FaultLog
) -> dict[Any, list[dict[str, Any]]]:
    """The annotations of each image; those of unknown images are counted and left out."""
    objects_of: dict[Any, list[dict[str, Any]]] = {image_id: [] for image_id in images}
    ids: Counter[Any] = Counter()
    for annotation in annotations:
        number, image_id = annotation.get("id"), annotation.get("image_id")
        ids[number] += 1
        if image_id in objects_of:
            objects_of[image_id].append(annotation)
        else:
            faults.add("unknown_image", f"{json_file}: annotation {number} of image {image_id}")
    for number, count in ids.items():
        if count > 1 and number is not None:
            faults.add("duplicate_annotation_id", f"{json_file}: id {number}, {count} times")
    return objects_of


class _ObjectReader:
    """Turns COCO annotations into objects of a dataset dict, and counts what is left out."""

    def __init__(
        self, index_of: dict[int, int], extra_keys: Sequence[str], json_file: str, faults: FaultLog
    ) -> None:
        self._index_of = index_of
        self._keys = ("iscrowd", "bbox", *extra_keys)
        self._json_file = json_file
        self._faults = faults

    def read(self, annotation: dict[str, Any]) -> dict[str, Any] | None:
        """The object, or None if it is unusable."""
        obj = {key: annotation[key] for key in self._keys if key in annotation}
        # Some tools write masks alone; the box then follows from the mask, below.
        has_box = bool(annotation.get("bbox")) or not annotation.get("segmentation")
        box = obj.get("bbox", (0, 0, 0, 0))
        if has_box and (not isinstance(box, list | tuple) or len(box) not in (4, 5)):
            what = f"has the box {box}, not [x, y, width, height]"
            self._refuse("malformed", annotation, what)
            return None
        category = annotation.get("category_id")
        if category not in self._index_of:
            known = ", ".join(map(str, list(self._index_of)[:20]))
            what = f"has category id {category}; 'categories' has {known}"
            self._refuse("unknown_category", annotation, what)
            return None
        obj["category_id"] = self._index_of[category]
        # Five numbers are a rotated box.
        is_rotated = has_box and len(box) == 5
        obj["bbox_mode"] = BoxMode.XYWHA_ABS if is_rotated else BoxMode.XYWH_ABS
        if annotation.get("keypoints"):
            obj["keypoints"] = [
                value if i % 3 == 2 else value + PIXEL_CENTRE
                for i, value in enumerate(annotation["keypoints"])
            ]
        if annotation.get("segmentation"):
            mask = self._mask(annotation)
            if mask is None:
                return None
            obj["segmentation"] = mask
            if not has_box:
                obj["bbox"] = _box_of(mask)
        return obj

    def _mask(self, annotation: dict[str, Any]) -> dict[str, Any] | list[list[float]] | None:
        """Compressed RLE or valid polygons."""
        mask = annotation["segmentation"]
        if isinstance(mask, list):
            # A polygon is a flat list x0, y0, x1, y1, ... of three points or more.
            polygons = [p for p in mask if isinstance(p, list) and len(p) >= 6 and len(p) % 2 == 0]
            for number in range(len(polygons), len(mask)):
                is_lost = not polygons and number == len(mask) - 1
                self._faults.add("few_points", self._where(annotation), is_lost=is_lost)
            return polygons or None
        if not isinstance(mask, dict) or not {"counts", "size"} <= set(mask):
            what = "has a segmentation that is neither polygons nor RLE"
            self._refuse("bad_mask", annotation, what)
            return None
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
        self._faults.refuse(kind, text, DataError(f"{text}."))


def _box_of(mask: dict[str, Any] | list[list[float]]) -> list[float]:
    """The box of a mask, x, y, width and height."""
    is_valid = isinstance(mask, list) or not mask_fault(mask, *mask["size"])
    # A mask that does not decode is found, and counted, when objects are checked.
    x0, y0, x1, y1 = (box_around(mask) if is_valid else None) or [0.0] * 4
    return [x0, y0, x1 - x0, y1 - y0]
