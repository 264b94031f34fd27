"""LVIS: COCO's images with some 1,200 classes, annotated exhaustively for some of them only."""

import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from d2lite.data.catalog import DatasetCatalog, MetadataCatalog
from d2lite.data.classes import OrderedLoader
from d2lite.data.normal_forms import as_id
from d2lite.utils.errors import DataError, MissingFileError
from d2lite.utils.file_io import PathManager

from .builtin_meta import coco_instances_metadata
from .coco_file import coco_categories, read_coco_json
from .coco_reading import read_coco_objects
from .location import missing_file
from .lvis_v0_5_categories import LVIS_CATEGORIES as LVIS_V0_5_CATEGORIES
from .lvis_v1_categories import LVIS_CATEGORIES as LVIS_V1_CATEGORIES

__all__ = [
    "LVIS_V0_5_CATEGORIES",
    "LVIS_V1_CATEGORIES",
    "get_lvis_instances_meta",
    "load_lvis_json",
    "lvis_class_image_count",
    "lvis_class_names",
    "published_class_names",
    "register_lvis_instances",
]

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
        DataError: if it is not such a file, or an annotation in it cannot be understood.
    """
    content = read_coco_json(json_file)
    images = [_with_file_name(image) for image in content["images"]]
    numbers = _class_numbers(content, json_file, dataset_name)
    records = read_coco_objects(
        {**content, "images": images}, numbers, json_file, image_root, extra_annotation_keys
    )
    found = {as_id(image["id"]): image for image in images if isinstance(image, dict)}
    for record in records:
        image = found[record["image_id"]]
        record.update({key: image.get(key) or [] for key in _IMAGE_KEYS})
    return records


def _categories(content: dict[str, Any], json_file: Any) -> dict[Any, dict[str, Any]]:
    """Category id -> its entry, by ascending id."""
    entries = {as_id(c.get("id")): c for c in content.get("categories") or () if type(c) is dict}
    return {number: entries[number] for number in coco_categories(content, json_file)}


def _class_numbers(
    content: dict[str, Any], json_file: Any, dataset_name: str | None
) -> dict[Any, int | None]:
    """Class number of each category id; the class names go into the metadata."""
    categories = _categories(content, json_file)
    index_of: dict[Any, int | None] = {number: index for index, number in enumerate(categories)}
    if dataset_name is None:
        return index_of
    metadata = MetadataCatalog.get(dataset_name)
    given = metadata.get("thing_dataset_id_to_contiguous_id")
    if given is not None:
        # Where the set follows a model of partly other classes, some are left out.
        left_out = categories if metadata.get("own_classes") is not None else ()
        return {**dict.fromkeys(left_out), **given}
    # Names that were set; others are read from this file, which takes long.
    number_of = {name: i for i, name in enumerate(vars(metadata).get("thing_classes") or ())}
    names = _names(categories.values())
    if number_of and set(names) <= set(number_of):
        index_of = {id_: number_of[name] for id_, name in zip(categories, names, strict=True)}
        metadata.set(thing_dataset_id_to_contiguous_id=index_of)
        return index_of
    metadata.set(thing_classes=names, thing_dataset_id_to_contiguous_id=index_of)
    return index_of


def _names(categories: Iterable[Mapping[str, Any]]) -> list[str]:
    """The first synonym of each category, which is LVIS' usual name of a class."""
    return [(category.get("synonyms") or [category["name"]])[0] for category in categories]


def _with_file_name(image: Any) -> Any:
    """LVIS takes images of any split of COCO, which is the last folder of an image's address."""
    if not isinstance(image, dict) or not isinstance(image.get("coco_url"), str):
        return image
    return {**image, "file_name": os.path.join(*image["coco_url"].split("/")[-2:])}


@functools.lru_cache(maxsize=8)
def _categories_of(path: str, size: int, changed: int) -> tuple[Mapping[str, Any], ...]:
    """The categories of a file, by ascending id; reading LVIS' large files takes long."""
    return tuple(_categories(read_coco_json(path), path).values())


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
    for version, categories in (("v0.5", LVIS_V0_5_CATEGORIES), ("v1", LVIS_V1_CATEGORIES)):
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
        DataError: if the name says no version and is not registered.
        MissingFileError: if it says none and the annotation file is not there.
    """
    if "cocofied" in dataset_name:
        return coco_instances_metadata()
    registered = [n for n in (dataset_name, f"{dataset_name}_train") if n in DatasetCatalog]
    json_file = MetadataCatalog.get(registered[0]).get("json_file") if registered else None
    published = published_class_names(dataset_name)
    if json_file is None and published is None:
        raise DataError(
            f"{dataset_name!r} names neither a version of LVIS (v1 or v0.5) nor a registered set, "
            "so its classes are not known. Ask for a registered set, such as 'lvis_v1_train'."
        )
    if json_file is None:
        return {"thing_classes": published}
    try:
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
    loader = OrderedLoader(lambda: load_lvis_json(json_file, image_root, name))
    DatasetCatalog.register(name, loader)
    entry = MetadataCatalog.get(name)
    entry.set(json_file=json_file, image_root=image_root, evaluator_type="lvis", **metadata)
    if "thing_classes" not in metadata:
        entry.set_deferred(thing_classes=lambda: lvis_class_names(json_file))
    if "class_image_count" not in metadata:
        entry.set_deferred(class_image_count=lambda: lvis_class_image_count(json_file))
