"""The parts of a COCO annotation file: its categories, its images, its objects."""

import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pycocotools import mask as mask_util

from d2lite.data.datasets.missing import missing_file
from d2lite.structures import BoxMode
from d2lite.utils.errors import DataError
from d2lite.utils.file_io import PathManager

__all__ = ["coco_categories", "in_class_order", "read_coco_json", "read_coco_objects"]

logger = logging.getLogger(__name__)

# COCO counts keypoints by pixel number, d2lite by position: pixel i spans [i, i + 1).
_PIXEL_CENTRE = 0.5


def read_coco_json(json_file: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of a COCO file, which has at least a list of images."""
    path = PathManager.get_local_path(os.fspath(json_file))
    try:
        content = json.loads(Path(path).read_bytes())
    except FileNotFoundError as err:
        raise missing_file("COCO annotations", json_file) from err
    except ValueError as err:
        raise DataError(f"{json_file} is not valid JSON: {err}. Is the download complete?") from err
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
            "Category ids of %s run from %s to %s for %d classes; they are numbered anew from 0, "
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
    images = _images(content, json_file)
    reader = _ObjectReader(index_of, extra_annotation_keys or (), str(json_file))
    objects_of = _by_image(content.get("annotations", ()), images, json_file)
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
    logger.info("Loaded %d images in COCO format from %s", len(records), json_file)
    reader.report()
    return records


def _images(content: dict[str, Any], json_file: Any) -> dict[Any, dict[str, Any]]:
    """The image entries by id, in ascending order."""
    images: dict[Any, dict[str, Any]] = {}
    for image in sorted(content["images"], key=lambda entry: entry["id"]):
        lacking = [key for key in ("file_name", "height", "width") if key not in image]
        if lacking:
            raise DataError(f"{json_file}: image {image['id']} lacks {', '.join(lacking)}.")
        if image["id"] in images:
            raise DataError(
                f"{json_file} has two images of id {image['id']}: "
                f"{images[image['id']]['file_name']} and {image['file_name']}. Ids must differ."
            )
        images[image["id"]] = image
    return images


def _by_image(
    annotations: Iterable[dict[str, Any]], images: dict[Any, Any], json_file: Any
) -> dict[Any, list[dict[str, Any]]]:
    """The annotations of each image; those of unknown images are counted and left out."""
    objects_of: dict[Any, list[dict[str, Any]]] = {image_id: [] for image_id in images}
    ids: Counter[Any] = Counter()
    strays = []
    for annotation in annotations:
        ids[annotation.get("id")] += 1
        if annotation["image_id"] in objects_of:
            objects_of[annotation["image_id"]].append(annotation)
        else:
            strays.append(annotation["image_id"])
    if strays:
        logger.warning(
            "%s: left out %d annotations of images that it does not list, for instance image %s.",
            json_file,
            len(strays),
            strays[0],
        )
    twice = [number for number, count in ids.items() if count > 1 and number is not None]
    if twice:
        logger.warning(
            "%s: %d annotation ids occur more than once, for instance %s. Training uses all of "
            "them; COCO's evaluation needs ids that differ.",
            json_file,
            len(twice),
            twice[0],
        )
    return objects_of


class _ObjectReader:
    """Turns COCO annotations into objects of a dataset dict, and counts what is left out."""

    def __init__(self, index_of: dict[int, int], extra_keys: Sequence[str], json_file: str) -> None:
        self._index_of = index_of
        self._keys = ("iscrowd", "bbox", *extra_keys)
        self._json_file = json_file
        self._without_mask: list[Any] = []
        self._dropped_polygons = 0

    def read(self, annotation: dict[str, Any]) -> dict[str, Any] | None:
        """The object, or None if its mask is unusable."""
        obj = {key: annotation[key] for key in self._keys if key in annotation}
        if len(obj.get("bbox", (0, 0, 0, 0))) not in (4, 5):
            raise self._error(annotation, f"has the box {obj['bbox']}, not [x, y, width, height]")
        category = annotation.get("category_id")
        if category not in self._index_of:
            known = ", ".join(map(str, list(self._index_of)[:20]))
            raise self._error(annotation, f"has category id {category}; 'categories' has {known}")
        obj["category_id"] = self._index_of[category]
        obj["bbox_mode"] = BoxMode.XYWH_ABS
        if annotation.get("keypoints"):
            obj["keypoints"] = [
                value if i % 3 == 2 else value + _PIXEL_CENTRE
                for i, value in enumerate(annotation["keypoints"])
            ]
        if annotation.get("segmentation"):
            mask = self._mask(annotation)
            if mask is None:
                self._without_mask.append(annotation.get("id"))
                return None
            obj["segmentation"] = mask
        return obj

    def _mask(self, annotation: dict[str, Any]) -> dict[str, Any] | list[list[float]] | None:
        """Compressed RLE or valid polygons."""
        mask = annotation["segmentation"]
        if isinstance(mask, list):
            # A polygon is a flat list x0, y0, x1, y1, ... of three points or more.
            polygons = [p for p in mask if len(p) >= 6 and len(p) % 2 == 0]
            self._dropped_polygons += len(mask) - len(polygons)
            return polygons or None
        if not isinstance(mask, dict) or not {"counts", "size"} <= set(mask):
            raise self._error(annotation, "has a segmentation that is neither polygons nor RLE")
        if isinstance(mask["counts"], list):
            return mask_util.frPyObjects(mask, *mask["size"])
        return mask

    def _error(self, annotation: dict[str, Any], what: str) -> DataError:
        return DataError(
            f"{self._json_file}: annotation {annotation.get('id')} of image "
            f"{annotation.get('image_id')} {what}."
        )

    def report(self) -> None:
        """Log what was left out."""
        if self._dropped_polygons:
            logger.warning(
                "%s: left out %d polygons of fewer than three points or an odd number of "
                "coordinates; %d objects had no other and were left out too%s.",
                self._json_file,
                self._dropped_polygons,
                len(self._without_mask),
                f", for instance annotation {self._without_mask[0]}" if self._without_mask else "",
            )
