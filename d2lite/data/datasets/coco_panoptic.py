"""COCO's panoptic format: one JSON of segments, and PNGs whose colours are segment numbers."""

import functools
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from d2lite.data.catalog import DatasetCatalog, MetadataCatalog
from d2lite.data.normal_forms import as_side
from d2lite.utils.errors import DataError
from d2lite.utils.file_io import PathManager, atomic_write

from .coco import load_coco_json, load_sem_seg
from .panoptic_file import panoptic_classes, read_panoptic_json, read_whole_panoptic_json

__all__ = [
    "load_coco_panoptic_json",
    "load_coco_panoptic_separated",
    "merge_to_panoptic",
    "register_coco_panoptic",
    "register_coco_panoptic_separated",
    "rgb_to_segment_ids",
    "segment_ids_to_rgb",
    "write_stuff_maps",
]

logger = logging.getLogger(__name__)

_IGNORE_LABEL = 255
_LABEL_DIVISOR = 1000
_ID_MAPS = {"thing_dataset_id_to_contiguous_id", "stuff_dataset_id_to_contiguous_id"}


def rgb_to_segment_ids(rgb: np.ndarray) -> np.ndarray:
    """Read the colours of a panoptic PNG as numbers, red being the lowest byte.

    Args:
        rgb: (H, W, 3) or (H, W, 4) uint8.

    Returns:
        (H, W) int64 segment numbers; 0 is void.
    """
    return rgb[..., :3].astype(np.int64) @ np.array([1, 256, 256**2])


def segment_ids_to_rgb(segment_ids: np.ndarray) -> np.ndarray:
    """The inverse of `rgb_to_segment_ids`.

    Args:
        segment_ids: (H, W) of any integer type, 0 <= id < 256 ** 3.

    Returns:
        (H, W, 3) uint8.
    """
    planes = [(segment_ids >> shift) & 0xFF for shift in (0, 8, 16)]
    return np.stack(planes, axis=-1).astype(np.uint8)


@functools.lru_cache(maxsize=8)
def _classes_of_file(panoptic_json: str) -> dict[str, Any]:
    return panoptic_classes(read_panoptic_json(panoptic_json), panoptic_json)


def load_coco_panoptic_json(
    json_file: str | os.PathLike[str],
    image_dir: str | os.PathLike[str],
    gt_dir: str | os.PathLike[str],
    meta: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Read annotations of COCO's panoptic format.

    Args:
        json_file: the annotation file.
        image_dir: folder of the images.
        gt_dir: folder of the panoptic PNGs.
        meta: with thing_dataset_id_to_contiguous_id and stuff_dataset_id_to_contiguous_id; without
            both, classes are numbered by `panoptic_classes`.

    Returns:
        One dict an image: file_name, image_id, pan_seg_file_name, segments_info (with class
        numbers as "category_id" and with "isthing"), and height and width where the file has them.

    Raises:
        MissingFileError: if the annotation file is not there.
        DataError: for another format, or a category that `meta` does not have.
    """
    content = read_whole_panoptic_json(json_file)
    images = {image.get("id"): image for image in content["images"]}
    if not _ID_MAPS & meta.keys():
        meta = panoptic_classes(content, json_file)
    things = meta["thing_dataset_id_to_contiguous_id"]
    stuff = meta["stuff_dataset_id_to_contiguous_id"]
    records = []
    for annotation in content["annotations"]:
        image = images.get(annotation["image_id"], {})
        segments = []
        for segment in annotation["segments_info"]:
            category = segment["category_id"]
            if category not in things and category not in stuff:
                raise DataError(
                    f"{json_file}: segment {segment.get('id')} of image {annotation['image_id']} "
                    f"has category id {category}, which neither thing_dataset_id_to_contiguous_id "
                    "nor stuff_dataset_id_to_contiguous_id of the dataset's metadata has."
                )
            is_thing = category in things
            number = (things if is_thing else stuff)[category]
            segments.append({**segment, "category_id": number, "isthing": is_thing})
        stem = os.path.splitext(annotation["file_name"])[0]
        records.append(
            {
                "file_name": os.path.join(image_dir, image.get("file_name", f"{stem}.jpg")),
                "image_id": annotation["image_id"],
                "pan_seg_file_name": os.path.join(gt_dir, annotation["file_name"]),
                "segments_info": segments,
                **{key: side for key in ("height", "width") if (side := as_side(image.get(key)))},
            }
        )
    if not records:
        raise DataError(f"{json_file} has no annotations.")
    logger.info("%s: %d images in COCO's panoptic format", json_file, len(records))
    return records


def register_coco_panoptic(
    name: str,
    metadata: Mapping[str, Any],
    image_root: str | os.PathLike[str],
    panoptic_root: str | os.PathLike[str],
    panoptic_json: str | os.PathLike[str],
    instances_json: str | os.PathLike[str] | None = None,
) -> None:
    """Register a dataset in COCO's panoptic format.

    Its dicts have "pan_seg_file_name" and "segments_info". Things and stuff share one row of
    class numbers.

    Args:
        name: how configurations will call it.
        metadata: class names and the two maps of ids, as `load_coco_panoptic_json` needs them;
            where it has neither map, all four come from the file, see `panoptic_classes`.
        image_root: folder of the images.
        panoptic_root: folder of the panoptic PNGs.
        panoptic_json: the panoptic annotation file.
        instances_json: annotation file of the things alone, if their AP is to be computed.
    """
    image_root, panoptic_root = os.fspath(image_root), os.fspath(panoptic_root)
    panoptic_json = os.fspath(panoptic_json)
    DatasetCatalog.register(
        name, lambda: load_coco_panoptic_json(panoptic_json, image_root, panoptic_root, metadata)
    )
    MetadataCatalog.get(name).set(
        panoptic_root=panoptic_root,
        image_root=image_root,
        panoptic_json=panoptic_json,
        json_file=None if instances_json is None else os.fspath(instances_json),
        evaluator_type="coco_panoptic_seg",
        ignore_label=_IGNORE_LABEL,
        label_divisor=_LABEL_DIVISOR,
        **metadata,
    )
    if not _ID_MAPS & metadata.keys():
        keys = _ID_MAPS | ({"thing_classes", "stuff_classes"} - metadata.keys())
        MetadataCatalog.get(name).set_deferred(
            **{key: functools.partial(_class_fact, panoptic_json, key) for key in sorted(keys)}
        )


def _class_fact(panoptic_json: str, key: str) -> Any:
    return _classes_of_file(panoptic_json)[key]


def register_coco_panoptic_separated(
    name: str,
    metadata: Mapping[str, Any],
    image_root: str | os.PathLike[str],
    panoptic_root: str | os.PathLike[str],
    panoptic_json: str | os.PathLike[str],
    sem_seg_root: str | os.PathLike[str],
    instances_json: str | os.PathLike[str],
) -> None:
    """Register panoptic data for models with one head for things and another for stuff.

    `NAME_separated` has objects and maps of stuff, `NAME_stuffonly` the maps alone.

    Args:
        name: what the two names begin with.
        metadata: class names of both heads and the two maps of ids.
        image_root: folder of the images.
        panoptic_root: folder of the panoptic PNGs, for the evaluation.
        panoptic_json: the panoptic annotation file, for the evaluation.
        sem_seg_root: folder of the maps of stuff, in which 0 stands for any thing and 255 is
            ignored; `write_stuff_maps` makes them.
        instances_json: annotation file of the things.
    """
    image_root, sem_seg_root = os.fspath(image_root), os.fspath(sem_seg_root)
    instances_json = os.fspath(instances_json)
    separated, stuff_only = f"{name}_separated", f"{name}_stuffonly"
    common = {"image_root": image_root, "sem_seg_root": sem_seg_root}
    DatasetCatalog.register(
        separated,
        lambda: load_coco_panoptic_separated(instances_json, image_root, sem_seg_root, separated),
    )
    MetadataCatalog.get(separated).set(
        **common,
        panoptic_root=os.fspath(panoptic_root),
        panoptic_json=os.fspath(panoptic_json),
        json_file=instances_json,
        evaluator_type="coco_panoptic_seg",
        ignore_label=_IGNORE_LABEL,
        **metadata,
    )
    DatasetCatalog.register(stuff_only, lambda: load_sem_seg(sem_seg_root, image_root))
    MetadataCatalog.get(stuff_only).set(
        **common, evaluator_type="sem_seg", ignore_label=_IGNORE_LABEL, **metadata
    )


def load_coco_panoptic_separated(
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    sem_seg_root: str | os.PathLike[str],
    dataset_name: str | None = None,
) -> list[dict[str, Any]]:
    """Read objects and maps of stuff as one list of dataset dicts.

    Args:
        json_file: annotation file of the things.
        image_root: folder of the images.
        sem_seg_root: folder of the maps of stuff.
        dataset_name: see `load_coco_json`.
    """
    return merge_to_panoptic(
        load_coco_json(json_file, image_root, dataset_name), load_sem_seg(sem_seg_root, image_root)
    )


def merge_to_panoptic(
    detection_dicts: Iterable[dict[str, Any]], sem_seg_dicts: Iterable[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Give each image with objects its map of stuff as well.

    Args:
        detection_dicts: dataset dicts with objects.
        sem_seg_dicts: dataset dicts with maps; those of other images are left out.

    Returns:
        One new dict for each of `detection_dicts`, with the entries of both.

    Raises:
        DataError: if images have no map.
    """
    map_of = {os.path.normpath(record["file_name"]): record for record in sem_seg_dicts}
    merged, lacking = [], []
    for record in detection_dicts:
        of_pixels = map_of.get(os.path.normpath(record["file_name"]))
        if of_pixels is None:
            lacking.append(record["file_name"])
        else:
            merged.append({**record, **of_pixels})
    if lacking or not merged:
        raise DataError(
            f"{len(lacking)} of {len(lacking) + len(merged)} images have no semantic map"
            f"{f', for instance {lacking[0]}' if lacking else ''}; there are {len(map_of)} maps. "
            "Make the maps of all of them with write_stuff_maps."
        )
    return merged


def write_stuff_maps(
    panoptic_json: str | os.PathLike[str],
    panoptic_root: str | os.PathLike[str],
    sem_seg_root: str | os.PathLike[str],
    stuff_dataset_id_to_contiguous_id: Mapping[int, int],
) -> None:
    """Make the maps of stuff that `register_coco_panoptic_separated` needs.

    Args:
        panoptic_json: the panoptic annotation file.
        panoptic_root: folder of the panoptic PNGs.
        sem_seg_root: where the maps go. Their pixels are class numbers of stuff, 0 for whatever
            is a thing, 255 for void.
        stuff_dataset_id_to_contiguous_id: class number of each category id of stuff.
    """
    content = read_whole_panoptic_json(panoptic_json)
    for annotation in content["annotations"]:
        path = os.path.join(panoptic_root, annotation["file_name"])
        with PathManager.open(path, "rb") as stream:
            segment_ids = rgb_to_segment_ids(np.asarray(Image.open(stream).convert("RGB")))
        labels = np.full(segment_ids.shape, _IGNORE_LABEL, dtype=np.uint8)
        for segment in annotation["segments_info"]:
            number = stuff_dataset_id_to_contiguous_id.get(segment["category_id"], 0)
            labels[segment_ids == segment["id"]] = number
        with atomic_write(Path(sem_seg_root) / annotation["file_name"], "wb") as stream:
            Image.fromarray(labels).save(stream, format="PNG")
    logger.info("Wrote %d maps of stuff to %s", len(content["annotations"]), sem_seg_root)
