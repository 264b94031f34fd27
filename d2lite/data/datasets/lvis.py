"""LVIS: COCO's images with some 1,200 classes, annotated exhaustively for some of them only."""

import functools
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from d2lite.data.catalog import DatasetCatalog, MetadataCatalog
from d2lite.structures import BoxMode
from d2lite.utils.errors import DataError, MissingFileError
from d2lite.utils.file_io import PathManager

from .builtin_meta import coco_instances_metadata
from .location import missing_file, read_json
from .lvis_v0_5_categories import LVIS_CATEGORIES as _V0_5
from .lvis_v1_categories import LVIS_CATEGORIES as _V1

__all__ = [
    "get_lvis_instances_meta",
    "load_lvis_json",
    "lvis_class_image_count",
    "lvis_class_names",
    "published_class_names",
    "register_lvis_instances",
]

logger = logging.getLogger(__name__)

# What training may need of an image beyond its objects: see `load_lvis_json`.
_IMAGE_KEYS = ("not_exhaustive_category_ids", "neg_category_ids")


class _NotCountedError(DataError, AttributeError):
    """A file that does not count images; to `metadata.get(key, default)` the count is unset."""


def load_lvis_json(
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    dataset_name: str | None = None,
    extra_annotation_keys: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Read an annotation file of LVIS.

    Args:
        json_file: the annotation file.
        image_root: folder that holds train2017/ and val2017/ of COCO.
        dataset_name: registered name. If its metadata maps category ids to class numbers (as for
            files that were reduced to COCO's classes), that map is used; else, if they name the
            classes, these are found by their names; else class numbers are category ids in
            ascending order, and the metadata get the class names.
        extra_annotation_keys: further keys of an annotation to take over as they are.

    Returns:
        One dict an image, by ascending image id. Beside the usual keys it has
        not_exhaustive_category_ids and neg_category_ids, the file's own category ids of classes
        that were not annotated in full and that are known to be absent.

    Raises:
        MissingFileError: if the file is not there.
        DataError: if it is not an LVIS file.
    """
    content = _read_json(json_file)
    index_of = _class_numbers(content, json_file, dataset_name)
    keys = ("bbox", *(extra_annotation_keys or ()))
    objects_of: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
    for annotation in content.get("annotations", ()):
        if annotation["image_id"] not in objects_of or annotation["category_id"] not in index_of:
            raise DataError(
                f"{json_file}: annotation {annotation.get('id')} is of image "
                f"{annotation['image_id']} and category {annotation['category_id']}; the file "
                "does not list both."
            )
        objects_of[annotation["image_id"]].append(
            {
                **{key: annotation[key] for key in keys if key in annotation},
                "bbox_mode": BoxMode.XYWH_ABS,
                "category_id": index_of[annotation["category_id"]],
                "segmentation": _polygons(annotation, json_file),
            }
        )
    records = [
        {
            "file_name": _image_path(image, os.fspath(image_root)),
            "height": image["height"],
            "width": image["width"],
            "image_id": image["id"],
            **{key: image.get(key, []) for key in _IMAGE_KEYS},
            "annotations": objects_of[image["id"]],
        }
        for image in sorted(content["images"], key=lambda image: image["id"])
    ]
    logger.info("%s: %d images in LVIS' format", json_file, len(records))
    return records


def _read_json(json_file: str | os.PathLike[str]) -> dict[str, Any]:
    content = read_json("LVIS annotations", json_file)
    if not isinstance(content, dict) or not {"images", "categories"} <= set(content):
        raise DataError(
            f"{json_file} is not an LVIS annotation file: expected a JSON object with 'images', "
            "'annotations' and 'categories'."
        )
    return content


def _class_numbers(
    content: dict[str, Any], json_file: Any, dataset_name: str | None
) -> dict[int, int]:
    """Class number of each category id; the class names go into the metadata."""
    categories = sorted(content["categories"], key=lambda category: category["id"])
    index_of = {category["id"]: index for index, category in enumerate(categories)}
    if dataset_name is None:
        return index_of
    metadata = MetadataCatalog.get(dataset_name)
    given = metadata.get("thing_dataset_id_to_contiguous_id")
    if given is not None:
        return dict(given)
    # Names that were set; others are read from this file, which takes long.
    number_of = {name: i for i, name in enumerate(vars(metadata).get("thing_classes") or ())}
    names = _names(categories)
    if number_of and set(names) <= set(number_of):
        numbers = [number_of[name] for name in names]
        index_of = {c["id"]: number for c, number in zip(categories, numbers, strict=True)}
        metadata.set(thing_dataset_id_to_contiguous_id=index_of)
        return index_of
    metadata.set(thing_classes=names, thing_dataset_id_to_contiguous_id=index_of)
    return index_of


def _names(categories: Sequence[Mapping[str, Any]]) -> list[str]:
    """The first synonym of each category, which is LVIS' usual name of a class."""
    return [(category.get("synonyms") or [category["name"]])[0] for category in categories]


def _polygons(annotation: Mapping[str, Any], json_file: Any) -> list[list[float]]:
    polygons = annotation.get("segmentation") or []
    valid = [p for p in polygons if len(p) >= 6 and len(p) % 2 == 0]
    if not valid or len(valid) != len(polygons):
        raise DataError(
            f"{json_file}: annotation {annotation.get('id')} has a segmentation that is not a list "
            "of polygons of three points or more, as every object of LVIS has."
        )
    return valid


def _image_path(image: Mapping[str, Any], image_root: str) -> str:
    """LVIS takes images of any split of COCO; an image's address has it."""
    if "coco_url" in image:
        return os.path.join(image_root, *image["coco_url"].split("/")[-2:])
    return os.path.join(image_root, image["file_name"])


@functools.lru_cache(maxsize=8)
def _categories_of(path: str, size: int, changed: int) -> tuple[Mapping[str, Any], ...]:
    """The categories of a file, by ascending id; reading LVIS' large files takes long."""
    return tuple(sorted(_read_json(path)["categories"], key=lambda category: category["id"]))


def _known_categories(json_file: str) -> tuple[Mapping[str, Any], ...]:
    path = PathManager.get_local_path(json_file)
    try:
        state = os.stat(path)
    except OSError as err:
        raise missing_file("LVIS annotations", json_file) from err
    return _categories_of(path, state.st_size, state.st_mtime_ns)


def lvis_class_names(json_file: str) -> list[str]:
    """The class names of an annotation file, by class number.

    Raises:
        MissingFileError: if the file is not there.
    """
    return _names(_known_categories(json_file))


def lvis_class_image_count(json_file: str) -> list[dict[str, int]]:
    """How many images of an annotation file show each class, for the federated loss.

    Returns:
        Dicts of id (the category's) and image_count, by ascending id.

    Raises:
        MissingFileError: if the file is not there.
        DataError: if the file lacks it; it also is an AttributeError, so that the metadata's
            `get` takes it for a value that is not set.
    """
    categories = _known_categories(json_file)
    if any("image_count" not in category for category in categories):
        raise _NotCountedError(f"{json_file} has categories without 'image_count'.")
    return [{"id": c["id"], "image_count": c["image_count"]} for c in categories]


def published_class_names(dataset_name: str) -> list[str] | None:
    """The class names of the version of LVIS that a dataset's name has in it, else None.

    Args:
        dataset_name: with "v1" or "v0.5" in it.
    """
    for version, categories in (("v0.5", _V0_5), ("v1", _V1)):
        if version in dataset_name:
            return _names(categories)
    return None


def get_lvis_instances_meta(dataset_name: str) -> dict[str, Any]:
    """Metadata of a set of LVIS, from its annotation file where that is on the disk.

    Args:
        dataset_name: a registered set such as "lvis_v1_train", or what comes before "_train", or
            any name with "v1" or "v0.5" in it; names of sets that were reduced to COCO's classes
            contain "cocofied".

    Returns:
        thing_classes, and class_image_count where the file has it.

    Raises:
        MissingFileError: if the name says no version and no annotation file is there.
    """
    if "cocofied" in dataset_name:
        return coco_instances_metadata()
    registered = [n for n in (dataset_name, f"{dataset_name}_train") if n in DatasetCatalog]
    json_file = MetadataCatalog.get(registered[0]).get("json_file") if registered else None
    published = published_class_names(dataset_name)
    try:
        if json_file is None:
            raise MissingFileError(
                f"{dataset_name!r} names neither a version of LVIS (v1 or v0.5) nor a registered "
                "set, so its classes are not known. Ask for a registered set, such as "
                "'lvis_v1_train'."
            )
        metadata: dict[str, Any] = {"thing_classes": lvis_class_names(json_file)}
    except MissingFileError:
        if published is None:
            raise
        return {"thing_classes": published}
    if all("image_count" in category for category in _known_categories(json_file)):
        metadata["class_image_count"] = lvis_class_image_count(json_file)
    return metadata


def register_lvis_instances(
    name: str,
    metadata: Mapping[str, Any],
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
) -> None:
    """Register a dataset in the format of LVIS.

    Args:
        name: how configurations will call it.
        metadata: further metadata; may be {}: class names come from the file.
        json_file: the annotation file; it is read when the dataset is first used.
        image_root: folder that holds train2017/ and val2017/ of COCO.
    """
    json_file, image_root = os.fspath(json_file), os.fspath(image_root)
    DatasetCatalog.register(name, lambda: load_lvis_json(json_file, image_root, name))
    entry = MetadataCatalog.get(name)
    entry.set(json_file=json_file, image_root=image_root, evaluator_type="lvis", **metadata)
    if "thing_classes" not in metadata:
        entry.set_deferred(thing_classes=lambda: lvis_class_names(json_file))
    if "class_image_count" not in metadata:
        entry.set_deferred(class_image_count=lambda: lvis_class_image_count(json_file))
