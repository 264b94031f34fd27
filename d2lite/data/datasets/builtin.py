"""The one list of built-in dataset names and of the files behind them.

Importing it registers the names and touches neither the disk nor the environment: the folder is
looked up when a dataset is loaded, or when a path is read from its metadata.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from d2lite.data.catalog import DatasetCatalog, MetadataCatalog
from d2lite.data.class_order import OrderedLoader
from d2lite.data.datasets.builtin_meta import coco_instances_metadata, coco_person_metadata
from d2lite.data.datasets.coco import load_coco_json
from d2lite.data.datasets.missing import datasets_root
from d2lite.data.datasets.pascal_voc import CLASS_NAMES, load_voc_instances
from d2lite.data.datasets.shapes import register_shapes

__all__ = ["register_all_coco", "register_all_pascal_voc", "register_builtin_datasets"]

# Names of one group share their metadata: split -> (image folder, annotation file), below coco/.
_COCO = {
    "coco": {
        "2014_train": ("train2014", "instances_train2014"),
        "2014_val": ("val2014", "instances_val2014"),
        "2014_minival": ("val2014", "instances_minival2014"),
        "2014_valminusminival": ("val2014", "instances_valminusminival2014"),
        "2017_train": ("train2017", "instances_train2017"),
        "2017_val": ("val2017", "instances_val2017"),
        "2017_val_100": ("val2017", "instances_val2017_100"),
        "2017_test": ("test2017", "image_info_test2017"),
        "2017_test-dev": ("test2017", "image_info_test-dev2017"),
    },
    "keypoints_coco": {
        "2014_train": ("train2014", "person_keypoints_train2014"),
        "2014_val": ("val2014", "person_keypoints_val2014"),
        "2014_minival": ("val2014", "person_keypoints_minival2014"),
        "2014_valminusminival": ("val2014", "person_keypoints_valminusminival2014"),
        "2017_train": ("train2017", "person_keypoints_train2017"),
        "2017_val": ("val2017", "person_keypoints_val2017"),
        "2017_val_100": ("val2017", "person_keypoints_val2017_100"),
    },
}

_COCO_METADATA: dict[str, Callable[[], dict[str, Any]]] = {
    "coco": coco_instances_metadata,
    "keypoints_coco": coco_person_metadata,
}

_VOC = {2007: ("train", "val", "trainval", "test"), 2012: ("train", "val", "trainval")}


def _below(root: str | None, *parts: str) -> str:
    """A path below the given folder, or below the one that the environment names now."""
    return os.path.join(datasets_root() if root is None else root, *parts)


def _register(
    name: str,
    load: Callable[..., list[dict[str, Any]]],
    paths: dict[str, Callable[[], str]],
    **metadata: Any,
) -> None:
    """Register a dataset whose paths are worked out when they are needed.

    Args:
        name: of the dataset.
        load: takes the paths by keyword and returns the dataset dicts.
        paths: metadata key -> function that returns the path.
        metadata: what does not depend on a path.
    """
    loader = OrderedLoader(lambda: load(**{key: path() for key, path in paths.items()}))
    DatasetCatalog.register(name, loader)
    MetadataCatalog.get(name).set(**metadata).set_deferred(**paths)


def register_all_coco(root: str | None = None) -> None:
    """Register the COCO sets of instances and keypoints, 2014 and 2017.

    Args:
        root: folder that holds coco/; the one that the environment names at the time if None.
    """
    for group, splits in _COCO.items():
        for split, (images, annotations) in splits.items():
            name = f"{group}_{split}"
            paths = {
                "json_file": partial(_below, root, "coco", "annotations", f"{annotations}.json"),
                "image_root": partial(_below, root, "coco", images),
            }
            load = partial(load_coco_json, dataset_name=name)
            _register(name, load, paths, evaluator_type="coco", **_COCO_METADATA[group]())


def _load_voc(name: str, split: str, dirname: str) -> list[dict[str, Any]]:
    """A split, its classes numbered as the metadata says."""
    return load_voc_instances(dirname, split, MetadataCatalog.get(name).thing_classes)


def register_all_pascal_voc(root: str | None = None) -> None:
    """Register the splits of VOC 2007 and 2012.

    Args:
        root: folder that holds VOC2007/ and VOC2012/; by the environment if None.
    """
    for year, splits in _VOC.items():
        for split in splits:
            name = f"voc_{year}_{split}"
            _register(
                name,
                partial(_load_voc, name, split),
                {"dirname": partial(_below, root, f"VOC{year}")},
                evaluator_type="pascal_voc",
                thing_classes=list(CLASS_NAMES),
                year=year,
                split=split,
            )


def register_builtin_datasets() -> None:
    """Register everything that d2lite knows by name."""
    register_all_coco()
    register_all_pascal_voc()
    register_shapes()


register_builtin_datasets()
