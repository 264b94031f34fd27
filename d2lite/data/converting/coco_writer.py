"""A labelled set as the content of a COCO file."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from d2lite.data.datasets.coco_export import exact_coco_object

from .labelled_set import LabelledSet

# Shares of an image's size, as YOLO writes them, come back with errors of 1e-13.
_DIGITS = 6


def coco_object(obj: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """One object in COCO's words, rounded and without ids."""
    entry = exact_coco_object(obj, record)
    entry["bbox"] = [round(value, _DIGITS) for value in entry["bbox"]]
    mask = entry.get("segmentation")
    if mask is None:
        entry["area"] = round(entry["area"], _DIGITS)
    elif isinstance(mask, list):
        entry["segmentation"] = [[round(v, _DIGITS) for v in polygon] for polygon in mask]
    return entry


def coco_content(
    data: LabelledSet, file_names: Sequence[str], lost: Counter[str]
) -> dict[str, Any]:
    """Everything that a COCO file holds.

    Args:
        data: the set.
        file_names: what to call each image.
        lost: what cannot be written is counted here.

    Returns:
        Plain dicts and lists. Image ids are kept where they are different whole numbers.
    """
    ids = [record.get("image_id") for record in data.records]
    if not all(isinstance(i, int) for i in ids) or len(set(ids)) < len(ids):
        ids = list(range(1, len(ids) + 1))
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, name, record in zip(ids, file_names, data.records, strict=True):
        size = {"width": int(record["width"]), "height": int(record["height"])}
        images.append({"id": number, "file_name": name, **size})
        for obj in record.get("annotations", ()):
            lost["marks 'difficult'"] += bool(obj.get("difficult"))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": data.category_ids[obj["category_id"]],
                    **coco_object(obj, record),
                }
            )
    with_points = {a["category_id"] for a in annotations if "keypoints" in a}
    names = {"keypoints": data.keypoint_names, "skeleton": []} if data.keypoint_names else {}
    categories = [
        {"id": number, "name": label, **(names if number in with_points else {})}
        for number, label in zip(data.category_ids, data.classes, strict=True)
    ]
    return {"images": images, "annotations": annotations, "categories": categories}
