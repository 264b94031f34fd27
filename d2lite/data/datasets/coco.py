"""COCO: instance annotations in one JSON, and semantic maps beside the images."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from d2lite.data.catalog import DatasetCatalog, MetadataCatalog
from d2lite.data.classes import OrderedLoader
from d2lite.utils.errors import DataError
from d2lite.utils.file_io import PathManager

from .coco_export import convert_to_coco_dict, convert_to_coco_json
from .coco_file import coco_categories, read_coco_json
from .coco_reading import in_class_order, read_coco_objects
from .location import missing_file

__all__ = [
    "convert_to_coco_dict",
    "convert_to_coco_json",
    "load_coco_json",
    "load_sem_seg",
    "register_coco_instances",
]

logger = logging.getLogger(__name__)


def load_coco_json(
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    dataset_name: str | None = None,
    extra_annotation_keys: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Read an annotation file of COCO's instance or keypoint format.

    Category ids may have gaps and are in any order; with `dataset_name` they become 0, 1, ... in
    ascending order, or in the order of the metadata's thing_classes where those are the same
    names in another order.
    Images without objects are kept, with an empty list.

    Args:
        json_file: the annotation file.
        image_root: folder that the file names in it are relative to.
        dataset_name: registered name whose metadata gets the class names and the mapping of ids.
            Without it `category_id` stays as in the file.
        extra_annotation_keys: further keys of an annotation to take over as they are.

    Returns:
        One dict an image, by ascending image id.

    Raises:
        MissingFileError: if the file is not there.
        DataError: if it is not a COCO file, or an annotation in it cannot be understood.
    """
    content = read_coco_json(json_file)
    categories = coco_categories(content, json_file)
    numbers: dict[Any, int | None]
    if dataset_name is None:
        kept: dict[Any, Any] = dict(zip(categories, categories, strict=True))
        return read_coco_objects(content, kept, json_file, image_root, extra_annotation_keys)
    metadata = MetadataCatalog.get(dataset_name)
    if metadata.get("own_classes") is not None:
        # The set follows a model of partly other classes, see follow_class_order.
        numbers = {**dict.fromkeys(categories), **metadata.thing_dataset_id_to_contiguous_id}
    else:
        categories = in_class_order(categories, metadata.get("thing_classes"))
        numbers = {category: index for index, category in enumerate(categories)}
        names = list(categories.values())
        metadata.set(thing_classes=names, thing_dataset_id_to_contiguous_id=numbers)
    return read_coco_objects(content, numbers, json_file, image_root, extra_annotation_keys)


def register_coco_instances(
    name: str,
    metadata: dict[str, Any],
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
) -> None:
    """Register a dataset in COCO's format for detection, instance masks or keypoints.

    Args:
        name: how configurations will call it.
        metadata: further metadata, for instance keypoint_names and keypoint_flip_map; may be {}.
        json_file: the annotation file; it is read when the dataset is first used.
        image_root: folder of the images.
    """
    json_file, image_root = os.fspath(json_file), os.fspath(image_root)
    loader = OrderedLoader(lambda: load_coco_json(json_file, image_root, name))
    DatasetCatalog.register(name, loader)
    MetadataCatalog.get(name).set(
        json_file=json_file, image_root=image_root, evaluator_type="coco", **metadata
    )


def load_sem_seg(
    gt_root: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    gt_ext: str = "png",
    image_ext: str = "jpg",
) -> list[dict[str, Any]]:
    """Pair images with their semantic maps, by the path below the two folders.

    Args:
        gt_root: folder of the maps, whose pixels are class numbers.
        image_root: folder of the images.
        gt_ext: ending of the maps.
        image_ext: ending of the images.

    Returns:
        One dict an image that has both, in order of the path: file_name, sem_seg_file_name.

    Raises:
        MissingFileError: if a folder is not there.
        DataError: if no pair is found.
    """
    images = _files_below(image_root, image_ext)
    maps = _files_below(gt_root, gt_ext)
    both = sorted(images.keys() & maps.keys())
    if not both:
        raise DataError(
            f"No image of {image_root} (*.{image_ext}, {len(images)} found) has a map of the same "
            f"name in {gt_root} (*.{gt_ext}, {len(maps)} found)."
        )
    if len(both) < max(len(images), len(maps)):
        logger.warning(
            "%s and %s: %d of %d images have no map and %d of %d maps no image; they are left out.",
            image_root,
            gt_root,
            len(images) - len(both),
            len(images),
            len(maps) - len(both),
            len(maps),
        )
    return [{"file_name": images[key], "sem_seg_file_name": maps[key]} for key in both]


def _files_below(root: str | os.PathLike[str], ending: str) -> dict[str, str]:
    """Path below the folder without its ending -> whole path."""
    folder = Path(PathManager.get_local_path(os.fspath(root)))
    if not folder.is_dir():
        raise missing_file("semantic segmentation", root)
    suffix = "." + ending.lstrip(".")
    return {
        path.relative_to(folder).as_posix()[: -len(suffix)]: str(path)
        for path in folder.rglob(f"*{suffix}")
    }
