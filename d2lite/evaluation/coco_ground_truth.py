"""The ground truth of any dataset as a COCO dict, and what an engine needs to score on it."""

import contextlib
import io
import json
import logging
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import coco

from d2lite.data.catalog import DatasetCatalog, MetadataCatalog, dataset_file_stem
from d2lite.data.datasets.coco_export import convert_to_coco_dict
from d2lite.data.object_checks import box_around, is_valid_polygon, mask_fault
from d2lite.structures.masks import rle
from d2lite.utils.errors import DataError, MissingFileError
from d2lite.utils.file_io import PathManager, atomic_write

logger = logging.getLogger(__name__)


def check_ground_truth(dataset_name: str) -> None:
    """Look for the ground truth of a dataset, without reading it.

    Raises:
        MissingFileError: if the dataset's annotation file is missing.
        UnknownNameError: if no such dataset is registered.
    """
    json_file = MetadataCatalog.get(dataset_name).get("json_file")
    if not json_file:
        DatasetCatalog.get(dataset_name)
    elif not PathManager.exists(json_file):
        raise MissingFileError(
            f"dataset '{dataset_name}' has its annotations in {json_file}, which does not exist; "
            "set D2LITE_DATASETS to the folder that holds the datasets."
        )


def coco_ground_truth(
    dataset_name: str, output_dir: Path | None, *, allow_cached: bool = True
) -> dict[str, Any]:
    """Read the annotation file of a dataset, or turn its dataset dicts into a COCO dict.

    Args:
        dataset_name: a registered dataset.
        output_dir: where <dataset_name>_coco_format.json is kept for the next evaluation; None
            for nowhere.
        allow_cached: take the kept file, if it was made of the same data.
    """
    json_file = MetadataCatalog.get(dataset_name).get("json_file")
    if json_file:
        with PathManager.open(json_file) as stream:
            content: dict[str, Any] = json.load(stream)
        return content
    records = DatasetCatalog.get(dataset_name)
    if output_dir is None or not any("annotations" in record for record in records):
        made = convert_to_coco_dict(dataset_name)
        if not any("annotations" in record for record in records):
            # Images to predict on: nothing can be scored, which is not the same as AP 0.
            del made["annotations"]
        return made
    path = output_dir / f"{dataset_file_stem(dataset_name)}_coco_format.json"
    # A file made of other data would give wrong numbers in silence, so it names its data.
    fingerprint = _fingerprint(records)
    if allow_cached and path.is_file():
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if kept.get("info", {}).get("fingerprint") == fingerprint:
            return kept
    made = convert_to_coco_dict(dataset_name)
    made["info"] = {**made.get("info", {}), "fingerprint": fingerprint}
    with atomic_write(path) as stream:
        json.dump(made, stream)
    logger.info("Saved the annotations of '%s' in COCO's format to %s", dataset_name, path)
    return made


def _fingerprint(dataset_dicts: Sequence[dict[str, Any]]) -> int:
    """A number that changes when images, boxes or classes of the data change."""
    crc = 0
    for record in dataset_dicts:
        objects = [
            (
                a.get("bbox"),
                a.get("category_id"),
                a.get("iscrowd"),
                len(a.get("segmentation") or ()),
            )
            for a in record.get("annotations", ())
        ]
        what = (record.get("image_id"), record.get("height"), record.get("width"), objects)
        crc = zlib.crc32(repr(what).encode(), crc)
    return crc


def index_coco(dataset: Mapping[str, Any]) -> coco.COCO:
    """Give a COCO dict the methods of pycocotools.

    Args:
        dataset: annotations that have no id are numbered, those that name no image left out.
    """
    if not all({"id", "image_id"} <= a.keys() for a in dataset.get("annotations", ())):
        numbered = enumerate(dataset["annotations"], start=1)
        dataset = {
            **dataset,
            "annotations": [{"id": number, **a} for number, a in numbered if "image_id" in a],
        }
    api = coco.COCO()
    api.dataset = dataset
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        api.createIndex()
    return api


def complete_ground_truth(dataset: Mapping[str, Any], task: str) -> dict[str, Any]:
    """Copy a COCO dict so that an engine can score a task on it.

    Args:
        dataset: "images", "annotations", "categories".
        task: "bbox", "segm" or "keypoints".

    Returns:
        The dict with "iscrowd" and "area" filled in, without annotations that lack what the task
        compares, and with distinct ids of annotations.

    Raises:
        DataError: if "images" or "categories" are missing.
    """
    missing = [key for key in ("images", "categories") if key not in dataset]
    if missing:
        raise DataError(
            f"the COCO annotations have no {' and no '.join(repr(k) for k in missing)}; found "
            f"{sorted(dataset)}."
        )
    # The first of an id, as in training; files of labelling tools have such entries twice.
    sizes = {image["id"]: image for image in reversed(dataset["images"]) if "id" in image}
    needed = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}[task]
    annotations = []
    num_bad = 0
    for annotation in dataset.get("annotations", ()):
        image = sizes.get(annotation.get("image_id"))
        whole = {"iscrowd": 0, **annotation}
        if image is None or not _keep_readable(whole, image):
            num_bad += image is not None
            continue
        if not whole.get(needed):
            continue
        if "area" not in whole:
            whole["area"] = _area(whole, image)
        if task == "keypoints":
            visibility = np.asarray(whole["keypoints"]).reshape(-1, 3)[:, 2]
            whole.setdefault("num_keypoints", int((visibility > 0).sum()))
        annotations.append(whole)
    if num_bad:
        logger.warning(
            "%d annotations of the ground truth have no readable box or mask. They are not "
            "scored, as they are not trained on; tools/check_dataset.py shows them.",
            num_bad,
        )
    return {
        "info": {},
        "images": list(sizes.values())[::-1],
        "categories": list(dataset["categories"]),
        # DIFFERS: numbered from one. Files have ids twice, and pycocotools takes a detection that
        # matches the annotation with the id 0 for one without a match.
        "annotations": [{**a, "id": number} for number, a in enumerate(annotations, start=1)],
    }


def _keep_readable(annotation: dict[str, Any], image: Mapping[str, Any]) -> bool:
    """Remove what engines cannot read from an annotation; False if it cannot be scored then.

    Boxes of odd sizes stay, since the published numbers count them.
    """
    mask = annotation.get("segmentation")
    if isinstance(mask, list):
        mask = [polygon for polygon in mask if is_valid_polygon(polygon)]
    elif mask and "height" in image and mask_fault(mask, image["height"], image["width"]):
        return False
    if annotation.get("segmentation"):
        annotation["segmentation"] = mask
        if not mask:
            return False
    if not annotation.get("bbox") and mask:
        annotation["bbox"] = _box(mask)
    box = annotation.get("bbox") or ()
    try:
        return all(map(math.isfinite, box)) and len(box) in (0, 4, 5)
    except TypeError:
        return False


def _box(mask: Any) -> list[float]:
    """The xywh box of a mask, for annotations without a box."""
    corners = box_around(mask) or [0.0] * 4
    return [*corners[:2], corners[2] - corners[0], corners[3] - corners[1]]


def _area(annotation: Mapping[str, Any], image: Mapping[str, Any]) -> float:
    shape = annotation.get("segmentation")
    if not shape:
        return float(annotation["bbox"][2] * annotation["bbox"][3])
    if isinstance(shape, list):
        shape = rle.from_polygons(shape, image["height"], image["width"])
    return rle.area(shape)
