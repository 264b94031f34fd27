"""Cityscapes' panoptic annotations, as cityscapesscripts' csCreatePanopticImgs makes them."""

import logging
import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from d2lite.data.catalog import DatasetCatalog, MetadataCatalog
from d2lite.utils.errors import DataError, MissingFileError
from d2lite.utils.file_io import PathManager

from .builtin_meta import CITYSCAPES_CATEGORIES, cityscapes_panoptic_metadata
from .builtin_splits import _RAW_CITYSCAPES_PANOPTIC_SPLITS, CITYSCAPES_PANOPTIC_SPLITS
from .cityscapes import find_cityscapes_files
from .location import below_root, read_json

__all__ = [
    "CITYSCAPES_CATEGORIES",
    "_RAW_CITYSCAPES_PANOPTIC_SPLITS",
    "get_cityscapes_panoptic_files",
    "load_cityscapes_panoptic",
    "register_all_cityscapes_panoptic",
]

logger = logging.getLogger(__name__)

_HOW_TO_MAKE = (
    "pip install cityscapesscripts, then CITYSCAPES_DATASET=.../cityscapes csCreatePanopticImgs "
    "(and csCreateTrainIdLabelImgs for the maps of classes)"
)


def get_cityscapes_panoptic_files(
    image_dir: str | os.PathLike[str],
    gt_dir: str | os.PathLike[str],
    json_info: Mapping[str, Any],
) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """Match images with their panoptic maps and segments.

    Args:
        image_dir: such as cityscapes/leftImg8bit/train.
        gt_dir: such as cityscapes/gtFine/cityscapes_panoptic_train.
        json_info: content of the annotation file beside that folder.

    Returns:
        (image, map, segments) by path of the image.

    Raises:
        DataError: if an image has no annotation.
    """
    annotation_of = {a["image_id"]: a for a in json_info["annotations"]}
    found = []
    for image, *_ in find_cityscapes_files(image_dir, image_dir):
        image_id = _image_id(image)
        annotation = annotation_of.get(image_id)
        if annotation is None:
            raise DataError(
                f"The panoptic annotations have no image {image_id!r}, but {image} exists. "
                f"Make them again: {_HOW_TO_MAKE}."
            )
        path = os.path.join(gt_dir, annotation["file_name"])
        found.append((image, path, annotation["segments_info"]))
    return found


def _image_id(image: str) -> str:
    """City, sequence and frame, as in aachen_000000_000019."""
    return "_".join(os.path.basename(image).split("_")[:3])


def load_cityscapes_panoptic(
    image_dir: str | os.PathLike[str],
    gt_dir: str | os.PathLike[str],
    gt_json: str | os.PathLike[str],
    meta: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Read the panoptic annotations of a split.

    Args:
        image_dir: such as cityscapes/leftImg8bit/train.
        gt_dir: such as cityscapes/gtFine/cityscapes_panoptic_train.
        gt_json: such as cityscapes/gtFine/cityscapes_panoptic_train.json.
        meta: with thing_dataset_id_to_contiguous_id and stuff_dataset_id_to_contiguous_id.

    Returns:
        One dict an image: file_name, image_id, pan_seg_file_name, segments_info (with class
        numbers) and sem_seg_file_name, the map of classes, where that exists.

    Raises:
        MissingFileError: if the annotation file is missing; the message says how it is made.
    """
    try:
        content = read_json("Cityscapes panoptic annotations", gt_json)
    except MissingFileError as err:
        raise MissingFileError(
            f"{err} They are made of the downloaded ones: {_HOW_TO_MAKE}."
        ) from None
    things = meta["thing_dataset_id_to_contiguous_id"]
    stuff = meta["stuff_dataset_id_to_contiguous_id"]
    records = []
    for image, path, segments in get_cityscapes_panoptic_files(image_dir, gt_dir, content):
        record = {
            "file_name": image,
            "image_id": _image_id(image),
            "pan_seg_file_name": path,
            "segments_info": [
                {
                    **segment,
                    "category_id": {**things, **stuff}[segment["category_id"]],
                    "isthing": segment["category_id"] in things,
                }
                for segment in segments
            ],
        }
        classes = image.replace("leftImg8bit", "gtFine").removesuffix(".png") + "_labelTrainIds.png"
        if PathManager.isfile(classes):
            record["sem_seg_file_name"] = classes
        records.append(record)
    logger.info("%s: %d panoptic images of Cityscapes", gt_json, len(records))
    return records


def register_all_cityscapes_panoptic(root: str | None = None) -> None:
    """Register cityscapes_fine_panoptic_train and _val.

    Args:
        root: folder that holds cityscapes/; the one that the environment names at the time if
            None.
    """
    below = partial(below_root, root, "cityscapes")
    for split in CITYSCAPES_PANOPTIC_SPLITS:
        name = f"cityscapes_fine_panoptic_{split}"
        metadata = cityscapes_panoptic_metadata()
        paths = {
            "image_root": partial(below, "leftImg8bit", split),
            "panoptic_root": partial(below, "gtFine", f"cityscapes_panoptic_{split}"),
            "panoptic_json": partial(below, "gtFine", f"cityscapes_panoptic_{split}.json"),
            "gt_dir": partial(below, "gtFine", split),
        }
        DatasetCatalog.register(name, partial(_load_split, paths, metadata))
        MetadataCatalog.get(name).set(
            evaluator_type="cityscapes_panoptic_seg",
            ignore_label=255,
            label_divisor=1000,
            **metadata,
        ).set_deferred(**paths)


def _load_split(paths: Mapping[str, Any], metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
    return load_cityscapes_panoptic(
        paths["image_root"](), paths["panoptic_root"](), paths["panoptic_json"](), metadata
    )
