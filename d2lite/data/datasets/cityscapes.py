"""Cityscapes: street scenes of 2048 x 1024 pixels, their objects and their maps of classes."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from d2lite.data.records.image_sizes import image_record
from d2lite.structures import BoxMode
from d2lite.structures.masks import rle
from d2lite.utils.cores import usable_cores
from d2lite.utils.errors import DataError
from d2lite.utils.file_io import PathManager

from .builtin_meta import CITYSCAPES_CATEGORIES
from .location import missing_file, read_json

__all__ = ["find_cityscapes_files", "load_cityscapes_instances", "load_cityscapes_semantic"]

logger = logging.getLogger(__name__)

_IMAGE_ENDING = "leftImg8bit.png"
_TRUTH_ENDINGS = ("instanceIds.png", "labelIds.png", "polygons.json")
_THINGS = [category for category in CITYSCAPES_CATEGORIES if category["isthing"]]
_NUMBER_OF_ID = {category["id"]: number for number, category in enumerate(_THINGS)}
_NUMBER_OF_NAME = {category["name"]: number for number, category in enumerate(_THINGS)}
# The one label that the benchmark leaves out of its maps: it hides nothing.
_INVISIBLE = "license plate"
# Instance numbers are class id * 1000 + number; below that stand areas without instances.
_ID_DIVISOR = 1000
# Outlines are traced on masks magnified by this: contours run through pixel centres.
_FINE = 4


class _Files(NamedTuple):
    """Paths of one image and of its ground truth."""

    image: str
    instance_ids: str
    label_ids: str
    polygons: str


def find_cityscapes_files(
    image_dir: str | os.PathLike[str], gt_dir: str | os.PathLike[str]
) -> list[_Files]:
    """The images of a split by path, and the paths of their ground truth.

    Args:
        image_dir: such as cityscapes/leftImg8bit/train, with one folder a city.
        gt_dir: such as cityscapes/gtFine/train.

    Raises:
        MissingFileError: if a folder is not there.
        DataError: if there is no image in it.
    """
    images = Path(PathManager.get_local_path(os.fspath(image_dir)))
    truth = Path(PathManager.get_local_path(os.fspath(gt_dir)))
    for folder, what in ((images, "Cityscapes images"), (truth, "Cityscapes annotations")):
        if not folder.is_dir():
            raise missing_file(what, folder)
    found = []
    for path in sorted(images.glob(f"*/*{_IMAGE_ENDING}")):
        stem = str(truth / path.parent.name / path.name.removesuffix(_IMAGE_ENDING))
        found.append(_Files(str(path), *(f"{stem}gtFine_{ending}" for ending in _TRUTH_ENDINGS)))
    if not found:
        raise DataError(f"{image_dir} has no images CITY/*_{_IMAGE_ENDING}.")
    return found


# The name in detectron2.
_get_cityscapes_files = find_cityscapes_files


def load_cityscapes_instances(
    image_dir: str | os.PathLike[str],
    gt_dir: str | os.PathLike[str],
    from_json: bool = True,
    to_polygons: bool = True,
) -> list[dict[str, Any]]:
    """Read the objects of a split; areas with many of a class ("cargroup") are crowds.

    Args:
        image_dir: such as cityscapes/leftImg8bit/train.
        gt_dir: such as cityscapes/gtFine/train.
        from_json: read *_polygons.json, in which later objects hide earlier ones; else the maps
            *_instanceIds.png.
        to_polygons: give masks as polygons, which lose holes; else as RLE.

    Returns:
        One dict an image, by path.
    """
    files = find_cityscapes_files(image_dir, gt_dir)
    read = partial(_cityscapes_files_to_dict, from_json=from_json, to_polygons=to_polygons)
    # Decoding and drawing leave Python's lock, so threads share the work.
    with ThreadPoolExecutor(max_workers=min(usable_cores(), 8)) as pool:
        records = list(pool.map(read, files))
    logger.info("%s: %d images of Cityscapes", image_dir, len(records))
    return records


def _cityscapes_files_to_dict(
    files: Sequence[str], from_json: bool, to_polygons: bool
) -> dict[str, Any]:
    """The dataset dict of one image; arguments as those of `load_cityscapes_instances`."""
    image, instance_ids, _, polygons = files
    describe: Callable[[np.ndarray], Any] = _outlines if to_polygons else rle.encode
    if from_json:
        numbers, labels = _draw_objects(polygons)
    else:
        numbers = _read_map(instance_ids).astype(np.int32)
        labels = dict(_labels_of_ids(numbers))
    annotations = list(_objects(numbers, labels, describe))
    return image_record(image, os.path.basename(image), numbers.shape, annotations=annotations)


def _draw_objects(json_file: str) -> tuple[np.ndarray, dict[int, tuple[int, bool]]]:
    """(H, W) int32 number of the object that is seen, and (class, is crowd) of those numbers."""
    content = read_json("Cityscapes annotations", json_file)
    numbers = np.zeros((content["imgHeight"], content["imgWidth"]), dtype=np.int32)
    labels = {}
    for number, obj in enumerate(content["objects"], start=1):
        name = obj["label"]
        if obj.get("deleted") or name == _INVISIBLE:
            continue
        # The whole pixels under the polygon, as the benchmark's own maps are drawn.
        cv2.fillPoly(numbers, [np.asarray(obj["polygon"], dtype=np.int32)], number)
        single = name.removesuffix("group")
        if single in _NUMBER_OF_NAME:
            labels[number] = (_NUMBER_OF_NAME[single], single != name)
    return numbers, labels


def _labels_of_ids(instance_ids: np.ndarray) -> Iterator[tuple[int, tuple[int, bool]]]:
    for value in np.unique(instance_ids).tolist():
        is_crowd = value < _ID_DIVISOR
        class_id = value if is_crowd else value // _ID_DIVISOR
        if class_id in _NUMBER_OF_ID:
            yield value, (_NUMBER_OF_ID[class_id], is_crowd)


def _objects(
    numbers: np.ndarray,
    labels: dict[int, tuple[int, bool]],
    describe: Callable[[np.ndarray], Any],
) -> Iterator[dict[str, Any]]:
    for number, (label, is_crowd) in labels.items():
        mask = (numbers == number).astype(np.uint8)
        x, y, width, height = cv2.boundingRect(mask)
        if min(width, height) <= 1:  # hidden, or a line that nothing can be learned from
            continue
        yield {
            "category_id": label,
            "iscrowd": int(is_crowd),
            "bbox": [x, y, x + width, y + height],
            "bbox_mode": BoxMode.XYXY_ABS,
            "segmentation": describe(mask),
        }


def _outlines(mask: np.ndarray) -> list[list[float]]:
    """Polygons x0, y0, x1, y1, ... in pixels around the pieces of a mask."""
    x, y, width, height = cv2.boundingRect(mask)
    part = mask[y : y + height, x : x + width]
    fine = np.repeat(np.repeat(part, _FINE, axis=0), _FINE, axis=1)
    contours, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    # A contour's points are centres of fine pixels.
    polygons = [(contour[:, 0] + 0.5) / _FINE + (x, y) for contour in contours]
    return [polygon.reshape(-1).tolist() for polygon in polygons if len(polygon) >= 3]


def _read_map(path: str) -> np.ndarray:
    try:
        with PathManager.open(path, "rb") as stream:
            return np.asarray(Image.open(stream))
    except FileNotFoundError as err:
        raise missing_file("Cityscapes annotations", path) from err


def load_cityscapes_semantic(
    image_dir: str | os.PathLike[str], gt_dir: str | os.PathLike[str]
) -> list[dict[str, Any]]:
    """Pair the images of a split with their maps of classes, *_labelTrainIds.png.

    Args:
        image_dir: such as cityscapes/leftImg8bit/train.
        gt_dir: such as cityscapes/gtFine/train.

    Returns:
        One dict an image: file_name, sem_seg_file_name, height, width.

    Raises:
        MissingFileError: if a map is missing; the message says how it is made.
    """
    records = []
    for image, _, label_ids, _ in find_cityscapes_files(image_dir, gt_dir):
        labels = label_ids.removesuffix("labelIds.png") + "labelTrainIds.png"
        if not os.path.isfile(labels):
            error = missing_file("Cityscapes maps of classes", labels)
            raise type(error)(
                f"{error} These maps are made of the downloaded ones: pip install "
                "cityscapesscripts, then CITYSCAPES_DATASET=.../cityscapes csCreateTrainIdLabelImgs"
            )
        with Image.open(labels) as opened:  # reads the header only
            width, height = opened.size
        records.append(
            {
                "file_name": image,
                "sem_seg_file_name": labels,
                "height": height,
                "width": width,
            }
        )
    return records
