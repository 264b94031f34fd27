"""The one list of built-in dataset names and of their files.

Importing it registers the names and touches neither the disk nor the environment: the folder is
looked up when a dataset is loaded, or when a path is read from its metadata.
"""

import logging
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from d2lite.data.catalog import DatasetCatalog, MetadataCatalog
from d2lite.data.classes import OrderedLoader

from .ade20k import load_ade20k_sem_seg
from .builtin_meta import (
    ADE20K_SEM_SEG_CATEGORIES,
    _get_builtin_metadata,
    cityscapes_metadata,
    coco_instances_metadata,
    coco_panoptic_metadata,
    coco_panoptic_separated_metadata,
    coco_person_metadata,
)
from .builtin_splits import (
    _PREDEFINED_SPLITS_COCO,
    _PREDEFINED_SPLITS_COCO_PANOPTIC,
    _PREDEFINED_SPLITS_LVIS,
    _RAW_CITYSCAPES_SPLITS,
    CITYSCAPES_SPLITS,
    COCO_PANOPTIC_SPLITS,
    COCO_SPLITS,
    LVIS_SPLITS,
)
from .cityscapes import load_cityscapes_instances, load_cityscapes_semantic
from .cityscapes_panoptic import register_all_cityscapes_panoptic
from .coco import load_coco_json, load_sem_seg
from .coco_panoptic import load_coco_panoptic_json, load_coco_panoptic_separated
from .location import below_root
from .lvis import get_lvis_instances_meta, load_lvis_json, lvis_class_image_count
from .pascal_voc import CLASS_NAMES, load_voc_instances
from .shapes import register_shapes

logger = logging.getLogger(__name__)

__all__ = [
    "_PREDEFINED_SPLITS_COCO",
    "_PREDEFINED_SPLITS_COCO_PANOPTIC",
    "_PREDEFINED_SPLITS_LVIS",
    "_RAW_CITYSCAPES_SPLITS",
    "_get_builtin_metadata",
    "register_all_ade20k",
    "register_all_cityscapes",
    "register_all_coco",
    "register_all_lvis",
    "register_all_pascal_voc",
    "register_builtin_datasets",
]

_COCO_METADATA: dict[str, Callable[[], dict[str, Any]]] = {
    "coco": coco_instances_metadata,
    "keypoints_coco": coco_person_metadata,
}

_ADE20K = {"train": "training", "val": "validation"}

_IGNORE_LABEL = 255

_VOC = {2007: ("train", "val", "trainval", "test"), 2012: ("train", "val", "trainval")}


def _register(
    name: str,
    load: Callable[..., list[dict[str, Any]]],
    paths: Mapping[str, Callable[[], str]],
    *,
    is_ordered: bool = False,
    **metadata: Any,
) -> None:
    """Register a dataset whose paths are worked out when they are needed.

    Args:
        name: of the dataset.
        load: takes the paths by keyword and returns the dataset dicts.
        paths: metadata key -> function that returns the path.
        is_ordered: whether `load` numbers classes as the metadata's thing_classes does.
        metadata: what does not depend on a path.
    """

    def loader() -> list[dict[str, Any]]:
        return load(**{key: path() for key, path in paths.items()})

    DatasetCatalog.register(name, OrderedLoader(loader) if is_ordered else loader)
    MetadataCatalog.get(name).set(**metadata).set_deferred(**paths)


def register_all_coco(root: str | None = None) -> None:
    """Register the COCO sets: instances and keypoints of 2014 and 2017, panoptic of 2017.

    Args:
        root: folder that holds coco/; the one that the environment names at the time if None.
    """
    _register_coco_panoptic(root)
    for group, splits in COCO_SPLITS.items():
        for split, (images, annotations) in splits.items():
            name = f"{group}_{split}"
            paths = {
                "json_file": partial(
                    below_root, root, "coco", "annotations", f"{annotations}.json"
                ),
                "image_root": partial(below_root, root, "coco", images),
            }
            load = partial(load_coco_json, dataset_name=name)
            metadata = _COCO_METADATA[group]()
            _register(name, load, paths, is_ordered=True, evaluator_type="coco", **metadata)


def _load_voc(name: str, split: str, dirname: str) -> list[dict[str, Any]]:
    """A split, its classes numbered as the metadata says."""
    return load_voc_instances(dirname, split, MetadataCatalog.get(name).thing_classes)


def _register_coco_panoptic(root: str | None) -> None:
    """Sets of each split: one row of classes, also with maps; things and stuff apart; stuff."""
    whole, apart = coco_panoptic_metadata(), coco_panoptic_separated_metadata()
    for split, (images, ending) in COCO_PANOPTIC_SPLITS.items():
        name = f"coco_{split}_panoptic"
        below = partial(below_root, root, "coco")
        image_root = {"image_root": partial(below, images)}
        maps = {"sem_seg_root": partial(below, f"panoptic_stuff_{ending}")}
        panoptic = {
            "panoptic_root": partial(below, f"panoptic_{ending}"),
            "panoptic_json": partial(below, "annotations", f"panoptic_{ending}.json"),
        }
        objects = {"json_file": partial(below, "annotations", f"instances_{ending}.json")}
        for ending_of_name, load, more in (
            ("", _load_panoptic, {}),
            (
                "_with_sem_seg",
                _load_panoptic_with_maps,
                {"sem_seg_root": partial(below, f"panoptic_semseg_{ending}")},
            ),
        ):
            _register(
                f"{name}{ending_of_name}",
                partial(load, whole),
                {**image_root, **panoptic, **objects, **more},
                evaluator_type="coco_panoptic_seg",
                ignore_label=_IGNORE_LABEL,
                label_divisor=1000,
                **whole,
            )
        _register(
            f"{name}_separated",
            partial(_load_separated, f"{name}_separated"),
            {**image_root, **panoptic, **objects, **maps},
            is_ordered=True,
            evaluator_type="coco_panoptic_seg",
            ignore_label=_IGNORE_LABEL,
            **apart,
        )
        _register(
            f"{name}_stuffonly",
            lambda image_root, sem_seg_root: load_sem_seg(sem_seg_root, image_root),
            {**image_root, **maps},
            evaluator_type="sem_seg",
            ignore_label=_IGNORE_LABEL,
            **apart,
        )


def _load_panoptic(metadata: dict[str, Any], **paths: str) -> list[dict[str, Any]]:
    image_root, panoptic_root = paths["image_root"], paths["panoptic_root"]
    return load_coco_panoptic_json(paths["panoptic_json"], image_root, panoptic_root, metadata)


def _load_panoptic_with_maps(
    metadata: dict[str, Any], sem_seg_root: str, **paths: str
) -> list[dict[str, Any]]:
    """As `_load_panoptic`, with the maps of classes that Mask2Former's users have made of it."""
    records = _load_panoptic(metadata, **paths)
    if not os.path.isdir(sem_seg_root):
        logger.warning(f"{sem_seg_root} is missing: classes of pixels are not evaluated")
        return records
    for record in records:
        file_name = os.path.basename(record["pan_seg_file_name"])
        record["sem_seg_file_name"] = os.path.join(sem_seg_root, file_name)
    return records


def _load_separated(dataset_name: str, **paths: str) -> list[dict[str, Any]]:
    return load_coco_panoptic_separated(
        paths["json_file"], paths["image_root"], paths["sem_seg_root"], dataset_name
    )


def register_all_lvis(root: str | None = None) -> None:
    """Register the sets of LVIS v0.5 and v1.

    Args:
        root: folder that holds lvis/ and coco/; by the environment if None.
    """
    for name, annotations in LVIS_SPLITS.items():
        json_file = partial(below_root, root, "lvis", f"{annotations}.json")
        is_coco = name.endswith("cocofied")
        _register(
            name,
            partial(load_lvis_json, dataset_name=name),
            {"json_file": json_file, "image_root": partial(below_root, root, "coco")},
            evaluator_type="lvis",
            **(coco_instances_metadata() if is_coco else {}),
        )
        if not is_coco:
            MetadataCatalog.get(name).set_deferred(
                thing_classes=partial(_lvis_names, name),
                class_image_count=partial(_read, lvis_class_image_count, json_file),
            )


def _lvis_names(name: str) -> list[str]:
    names: list[str] = get_lvis_instances_meta(name)["thing_classes"]
    return names


def _read(read: Callable[[str], Any], path: Callable[[], str]) -> Any:
    return read(path())


def register_all_cityscapes(root: str | None = None) -> None:
    """Register the fine annotations of Cityscapes: instances, and classes of pixels.

    Args:
        root: folder that holds cityscapes/; by the environment if None.
    """
    loaders = {"instance": load_cityscapes_instances, "sem": load_cityscapes_semantic}
    evaluators = {"instance": "cityscapes_instance", "sem": "cityscapes_sem_seg"}
    for task, load in loaders.items():
        metadata: dict[str, Any] = cityscapes_metadata()
        if task == "sem":
            metadata["ignore_label"] = _IGNORE_LABEL
        for split in CITYSCAPES_SPLITS:
            _register(
                f"cityscapes_fine_{task}_seg_{split}",
                load,
                {
                    "image_dir": partial(below_root, root, "cityscapes", "leftImg8bit", split),
                    "gt_dir": partial(below_root, root, "cityscapes", "gtFine", split),
                },
                evaluator_type=evaluators[task],
                **metadata,
            )


def register_all_ade20k(root: str | None = None) -> None:
    """Register the scene parsing benchmark of ADE20K.

    Args:
        root: folder that holds ADEChallengeData2016/; by the environment if None.
    """
    for split, folder in _ADE20K.items():
        below = partial(below_root, root, "ADEChallengeData2016")
        _register(
            f"ade20k_sem_seg_{split}",
            load_ade20k_sem_seg,
            {
                "image_root": partial(below, "images", folder),
                "sem_seg_root": partial(below, "annotations_detectron2", folder),
            },
            evaluator_type="sem_seg",
            ignore_label=_IGNORE_LABEL,
            stuff_classes=list(ADE20K_SEM_SEG_CATEGORIES),
        )


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
                {"dirname": partial(below_root, root, f"VOC{year}")},
                is_ordered=True,
                evaluator_type="pascal_voc",
                thing_classes=list(CLASS_NAMES),
                year=year,
                split=split,
            )


def register_builtin_datasets() -> None:
    """Register everything that d2lite knows by name."""
    register_all_coco()
    register_all_lvis()
    register_all_cityscapes()
    register_all_cityscapes_panoptic()
    register_all_ade20k()
    register_all_pascal_voc()
    register_shapes()
    for name in DatasetCatalog.list():
        if name.startswith("shapes_") or name.endswith("_with_sem_seg"):
            DatasetCatalog.give_up(name)


register_builtin_datasets()
