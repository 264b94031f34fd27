"""Write any registered dataset as a COCO annotation file."""

import datetime
import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from d2lite.data.catalog import MetadataCatalog
from d2lite.data.normal_forms import as_flag, as_id, as_mask
from d2lite.data.records.plain_records import load_records
from d2lite.structures import BoxMode
from d2lite.structures.masks import rle
from d2lite.utils.errors import DataError
from d2lite.utils.file_io import PathManager, write_json_file

from .coco_reading import PIXEL_CENTRE

logger = logging.getLogger(__name__)


def convert_to_coco_dict(dataset_name: str) -> dict[str, Any]:
    """A registered dataset as the content of a COCO annotation file.

    Category ids are the file's own where the metadata has thing_dataset_id_to_contiguous_id, and
    the class numbers from 0 elsewhere.

    Args:
        dataset_name: registered name; its metadata needs thing_classes.

    Returns:
        Plain dicts and lists with "info", "images", "annotations", "categories", "licenses".
    """
    return coco_dict(dataset_name, load_records(dataset_name))


def coco_dict(dataset_name: str, records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """`convert_to_coco_dict` of records that are loaded already.

    Raises:
        DataError: for an object that the format cannot hold, or an image without a size.
    """
    metadata = MetadataCatalog.get(dataset_name)
    index_of = metadata.get("thing_dataset_id_to_contiguous_id")
    if index_of is None:
        index_of = {i: i for i in range(len(metadata.thing_classes))}
    id_of = {index: number for number, index in index_of.items()}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for place, record in enumerate(records):
        image_id = record.get("image_id", place)
        if record.get("width") is None or record.get("height") is None:
            raise DataError(
                f"{record.get('file_name')} of {dataset_name} has no 'height' and 'width', and its "
                "image file cannot be read to find them."
            )
        images.append(
            {
                "id": image_id,
                "width": int(record["width"]),
                "height": int(record["height"]),
                "file_name": str(record.get("file_name", "")),
            }
        )
        for obj in record.get("annotations", ()):
            entry = _annotation(obj, record, id_of)
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **entry})
    categories = [
        {"id": id_of[index], "name": label}
        for index, label in enumerate(metadata.thing_classes)
        if index in id_of  # not those that only the model has
    ]
    logger.info(
        "Converted %s to COCO format: %d images, %d annotations",
        dataset_name,
        len(images),
        len(annotations),
    )
    return {
        "info": {
            "date_created": str(datetime.datetime.now()),
            "description": f"{dataset_name}, written by d2lite",
        },
        "images": images,
        "annotations": annotations,
        "categories": categories,
        "licenses": None,
    }


def _annotation(
    obj: dict[str, Any], record: dict[str, Any], id_of: dict[int, int]
) -> dict[str, Any]:
    """One object in COCO's words, without the ids of image and annotation."""
    category = as_id(obj.get("category_id"))
    if category not in id_of:
        raise DataError(
            f"{record.get('file_name')} has an object of category id {obj.get('category_id')}, but "
            f"the dataset's class numbers are {min(id_of)} to {max(id_of)}."
        )
    if obj.get("bbox") is None:
        raise DataError(f"{record.get('file_name')} has an object without a box and a mask.")
    entry = exact_coco_object(obj, record)
    bbox = [round(value, 3) for value in entry["bbox"]]
    return {**entry, "bbox": bbox, "category_id": id_of[category]}


def exact_coco_object(obj: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """One object in COCO's words, with all digits and without ids.

    Args:
        obj: of a dataset dict, with a box.
        record: its image.

    Raises:
        DataError: if its segmentation is not a mask.
    """
    box = [float(value) for value in obj["bbox"]]
    # Five numbers are a rotated box, which COCO's format holds as it is.
    if len(box) != 5:
        box = [float(v) for v in BoxMode.convert(box, obj["bbox_mode"], BoxMode.XYWH_ABS)]
    entry: dict[str, Any] = {
        "bbox": box,
        "area": box[2] * box[3],
        "iscrowd": as_flag(obj.get("iscrowd")),
    }
    if obj.get("segmentation") is not None:
        entry["segmentation"], entry["area"] = _mask_and_area(obj["segmentation"], record)
    if "keypoints" in obj:
        flat = [float(value) for value in np.asarray(obj["keypoints"]).reshape(-1)]
        entry["keypoints"] = [v if i % 3 == 2 else v - PIXEL_CENTRE for i, v in enumerate(flat)]
        entry["num_keypoints"] = sum(visible > 0 for visible in flat[2::3])
    entry["area"] = float(entry["area"])
    return entry


def _mask_and_area(mask: Any, record: dict[str, Any]) -> tuple[Any, float]:
    """The mask in a form that JSON can hold, and its area in pixels.

    Raises:
        DataError: if it is not a mask.
    """
    try:
        found = as_mask(mask)
        if found is None:
            return [], 0.0
        if isinstance(found, list):
            polygons = [np.asarray(p, dtype=np.float64).reshape(-1) for p in found]
            return [p.tolist() for p in polygons], sum(map(_polygon_area, polygons))
        code = rle.encode(found) if isinstance(found, np.ndarray) else found
        return rle.with_text(code), rle.area(code)
    except (TypeError, ValueError, KeyError, OverflowError) as err:
        raise DataError(
            f"{record.get('file_name')} has a segmentation that cannot be understood ({err}); "
            "expected polygons, RLE or an array of the image's size."
        ) from err


def _polygon_area(flat: np.ndarray) -> float:
    """The area inside a polygon x0, y0, x1, y1, ... by the shoelace formula."""
    x, y = flat[0::2], flat[1::2]
    return float(abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2)


def convert_to_coco_json(
    dataset_name: str,
    output_file: str | os.PathLike[str],
    allow_cached: bool = True,
) -> None:
    """Write a registered dataset as a COCO annotation file.

    Args:
        dataset_name: registered name.
        output_file: the file to write; it appears when it is complete.
        allow_cached: leave a file that is already there as it is.
    """
    output_file = os.fspath(output_file)
    if allow_cached and PathManager.exists(output_file):
        logger.warning(
            "%s is there already and is used as it is. Delete it if %s has changed.",
            output_file,
            dataset_name,
        )
        return
    content = convert_to_coco_dict(dataset_name)
    write_json_file(output_file, content)
    logger.info("Wrote %s in COCO format to %s", dataset_name, output_file)
