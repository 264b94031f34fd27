"""A labelled set as the content of a COCO file."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from d2lite.data.datasets.coco_export import mask_and_area
from d2lite.structures import BoxMode

from .labelled_set import LabelledSet

# Shares of an image's size, as YOLO writes them, come back with errors of 1e-13.
_DIGITS = 6

# COCO counts keypoints by pixel number, d2lite by position: see coco_reading.
_PIXEL_CENTRE = 0.5


def coco_object(obj: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """One object in COCO's words, without ids.

    Args:
        obj: of a dataset dict.
        record: its image.
    """
    box = [float(value) for value in obj["bbox"]]
    if len(box) == 4:  # five are a rotated box, which the format holds as it is
        box = [float(v) for v in BoxMode.convert(box, obj["bbox_mode"], BoxMode.XYWH_ABS)]
    entry: dict[str, Any] = {
        "bbox": [round(value, _DIGITS) for value in box],
        "area": round(box[2] * box[3], _DIGITS),
        "iscrowd": int(obj.get("iscrowd", 0)),
    }
    if obj.get("segmentation") is not None:
        mask, area = mask_and_area(obj["segmentation"], record)
        if isinstance(mask, list):
            mask = [[round(value, _DIGITS) for value in polygon] for polygon in mask]
        entry.update(segmentation=mask, area=float(area))
    if "keypoints" in obj:
        flat = [float(value) for value in obj["keypoints"]]
        entry["keypoints"] = [v if i % 3 == 2 else v - _PIXEL_CENTRE for i, v in enumerate(flat)]
        entry["num_keypoints"] = sum(visible > 0 for visible in flat[2::3])
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
