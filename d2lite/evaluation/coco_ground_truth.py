"""The ground truth of any dataset as a COCO dict, and what an engine needs to score on it."""

import contextlib
import hashlib
import io
import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import coco

from d2lite.data.catalog import DatasetCatalog, MetadataCatalog, dataset_file_stem
from d2lite.data.datasets.coco_annotations import (
    NormalAnnotations,
    annotations_by_image,
    normalise_annotation,
)
from d2lite.data.datasets.coco_export import coco_dict
from d2lite.data.datasets.coco_file import coco_categories, coco_images, read_coco_json
from d2lite.data.normal_forms import as_id
from d2lite.data.records.faults import collecting_faults
from d2lite.data.records.object_checks import box_around, is_valid_polygon, mask_fault
from d2lite.data.records.plain_records import load_records
from d2lite.structures.masks import rle
from d2lite.utils.errors import DataError, MissingFileError
from d2lite.utils.file_io import PathManager, write_json_file
from d2lite.utils.garbage_collection import paused_garbage_collection

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


@paused_garbage_collection()
def coco_ground_truth(
    dataset_name: str, output_dir: Path | None, *, allow_cached: bool = True
) -> dict[str, Any]:
    """Read the annotation file of a dataset, or turn its dataset dicts into a COCO dict.

    Args:
        dataset_name: a registered dataset.
        output_dir: where <dataset_name>_coco_format.json is written, for those who read it; None
            for nowhere.
        allow_cached: leave a file that is there already as it is if it has the same content.

    Returns:
        COCO dict of ids, sizes and annotations in the form that COCO defines; what cannot be
        understood is left out, as in training.
    """
    metadata = MetadataCatalog.get(dataset_name)
    if metadata.get("json_file"):
        return _read_truth(dataset_name, metadata)
    with collecting_faults():
        records = load_records(dataset_name)
    made = coco_dict(dataset_name, records)
    if not any("annotations" in record for record in records):
        # Images to predict on: nothing can be scored, which is not the same as AP 0.
        del made["annotations"]
    elif output_dir is not None:
        path = output_dir / f"{dataset_file_stem(dataset_name)}_coco_format.json"
        # By the whole content: labels that changed give another file.
        content = {key: value for key, value in made.items() if key != "info"}
        made["info"]["fingerprint"] = hashlib.sha256(json.dumps(content).encode()).hexdigest()
        if not (allow_cached and _has_fingerprint(path, made["info"]["fingerprint"])):
            write_json_file(path, made)
            logger.info("Saved the annotations of '%s' in COCO's format to %s", dataset_name, path)
    return made


def _has_fingerprint(path: Path, fingerprint: str) -> bool:
    """Whether a file was written with this fingerprint, which is in its first lines."""
    if not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as stream:
        return fingerprint in stream.read(1000)


def _read_truth(dataset_name: str, metadata: Any) -> dict[str, Any]:
    """The annotation file, of the images and classes that the dataset has."""
    json_file = metadata.json_file
    with collecting_faults() as faults:
        content = read_coco_json(json_file)
        images = coco_images(content, json_file, faults)
        if not all("height" in image for image in images.values()):
            # The reader of the dataset takes the sizes from the images.
            for record in load_records(dataset_name):
                image = images.get(record["image_id"])
                if image is not None and "height" not in image:
                    size = {key: record[key] for key in ("height", "width")}
                    images[record["image_id"]] = {**image, **size}
        content["images"] = [image for image in images.values() if "height" in image]
        if content.get("categories"):
            names: dict[Any, str] = coco_categories(content, json_file)
            numbered = [(as_id(c["id"]), c) for c in content["categories"]]
            content["categories"] = [
                {**c, "id": number, "name": names[number]}
                for number, c in numbered
                if number in names
            ]
        if "annotations" in content:
            found = annotations_by_image(content["annotations"], images, json_file, faults)
            annotations = [a for of_image in found.values() for a in of_image]
            readable = NormalAnnotations(a for a in annotations if normalise_annotation(a) is None)
            _warn_of_unreadable(len(annotations) - len(readable))
            content["annotations"] = readable
    numbers = metadata.get("thing_dataset_id_to_contiguous_id")
    if numbers is not None and "categories" in content:
        # Classes that the model does not have are not scored.
        content["categories"] = [c for c in content["categories"] if c["id"] in numbers]
    if "categories" in content and "annotations" in content:
        known = {category["id"] for category in content["categories"]}
        content["annotations"] = NormalAnnotations(
            a for a in content["annotations"] if a.get("category_id") in known
        )
    return content


def _warn_of_unreadable(count: int) -> None:
    if count:
        logger.warning(
            "%d annotations of the ground truth have no readable box or mask. They are not "
            "scored, as they are not trained on; `d2lite data check` shows them.",
            count,
        )


def index_coco(dataset: Mapping[str, Any]) -> coco.COCO:
    """Give a COCO dict the methods of pycocotools.

    Args:
        dataset: annotations that have no id are numbered, those of no image or category left out.
    """
    needed = {"id", "image_id", "category_id"}
    if not all(needed <= a.keys() for a in dataset.get("annotations", ())):
        numbered = enumerate(dataset["annotations"], start=1)
        whole = [{"id": number, **a} for number, a in numbered]
        kept = type(dataset["annotations"])(a for a in whole if needed <= a.keys())
        dataset = {**dataset, "annotations": kept}
    api = coco.COCO()
    api.dataset = dataset
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        api.createIndex()
    return api


@paused_garbage_collection()
def complete_ground_truth(dataset: Mapping[str, Any], task: str) -> dict[str, Any]:
    """Copy a COCO dict so that an engine can score a task on it.

    Args:
        dataset: "images", "annotations", "categories". Annotations are brought into COCO's form
            unless they are `NormalAnnotations`.
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
    images = [{**_only(i, _OF_IMAGE), "id": as_id(i.get("id"))} for i in dataset["images"]]
    sizes = {image["id"]: image for image in reversed(images) if image["id"] is not None}
    needed = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}[task]
    annotations: list[dict[str, Any]] = []
    num_bad = 0
    given = dataset.get("annotations", ())
    is_normal = isinstance(given, NormalAnnotations)
    for annotation in given:
        image = sizes.get(as_id(annotation.get("image_id")))
        whole = {"iscrowd": 0, **{key: annotation[key] for key in _SCORED if key in annotation}}
        is_readable = image is not None and (is_normal or normalise_annotation(whole) is None)
        if image is None or not is_readable or not _keep_readable(whole, image):
            num_bad += image is not None
            continue
        if not whole.get(needed):
            continue
        if "area" not in whole:
            whole["area"] = _area(whole, image)
        if task == "keypoints":
            visibility = np.asarray(whole["keypoints"]).reshape(-1, 3)[:, 2]
            whole.setdefault("num_keypoints", int((visibility > 0).sum()))
        # DIFFERS: numbered from one. Files have ids twice, and pycocotools takes a detection that
        # matches the annotation with the id 0 for one without a match.
        whole["id"] = len(annotations) + 1
        annotations.append(whole)
    _warn_of_unreadable(num_bad)
    return {
        "info": {},
        "images": list(sizes.values())[::-1],
        "categories": [
            {**_only(category, _OF_CATEGORY), "id": as_id(category["id"])}
            for category in dataset["categories"]
        ],
        "annotations": annotations,
    }


# Engines get nothing else: they refuse fields of unusual types, whether these matter or not.
_SCORED = (
    "image_id", "category_id", "iscrowd", "area", "bbox", "segmentation", "keypoints",
    "num_keypoints",
)  # fmt: skip
_OF_IMAGE = (
    "id", "height", "width", "not_exhaustive_category_ids", "neg_category_ids",
)  # fmt: skip
_OF_CATEGORY = ("id", "name", "frequency")


def _only(entry: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: entry[key] for key in keys if key in entry}


def _keep_readable(annotation: dict[str, Any], image: Mapping[str, Any]) -> bool:
    """Remove what engines cannot read from an annotation; False if it cannot be scored then.

    Boxes of odd sizes stay, since the published numbers count them.
    """
    mask = annotation.get("segmentation")
    if isinstance(mask, list):
        mask = [polygon for polygon in mask if is_valid_polygon(polygon)]
        if not mask:
            return False
        annotation["segmentation"] = mask
    elif (
        mask is not None and "height" in image and mask_fault(mask, image["height"], image["width"])
    ):
        return False
    if "bbox" not in annotation:
        annotation["bbox"] = _box(mask)
    return all(map(math.isfinite, (*annotation["bbox"], *annotation.get("keypoints", ()))))


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
