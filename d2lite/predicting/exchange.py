"""Objects in the words of others: COCO results, plain JSON, supervision."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from d2lite.data.datasets.coco_reading import PIXEL_CENTRE
from d2lite.utils.errors import MissingPackageError
from d2lite.visualization.shapes import rotated_corners

from .found import Found, Segment


def coco_results(
    found: Iterable[Found], size: tuple[int, int], image_id: int | str
) -> list[dict[str, Any]]:
    """COCO result dicts of an image of a size (height, width), see `Result.to_coco`."""
    objects = json_content(found, size, None)["objects"]
    return [coco_result(one, image_id) for one in objects]


def coco_result(found: Mapping[str, Any], image_id: int | str) -> dict[str, Any]:
    """One COCO result dict."""
    return {"image_id": image_id, **coco_object(found), "category_name": found["name"]}


def coco_object(found: Mapping[str, Any]) -> dict[str, Any]:
    """An object of `json_content` in COCO's words, with its score and without ids."""
    x0, y0, x1, y1 = found["box"]
    made: dict[str, Any] = {
        "category_id": found["class_id"],
        "bbox": found.get("rotated_box") or [x0, y0, x1 - x0, y1 - y0],
        "score": found["score"],
    }
    if "mask" in found:
        made["segmentation"] = found["mask"]
    if "keypoints" in found:
        shift = np.array([PIXEL_CENTRE, PIXEL_CENTRE, 0])
        made["keypoints"] = (np.array(found["keypoints"]) - shift).reshape(-1).tolist()
    if "track_id" in found:
        made["track_id"] = found["track_id"]
    return made


def json_content(
    found: Iterable[Found], size: tuple[int, int], segments: Sequence[Segment] | None
) -> dict[str, Any]:
    """Objects and segments as plain values, see `Result.to_dict`.

    Args:
        found: the objects of one image.
        size: (height, width) of the image.
        segments: of a panoptic model, or None.
    """
    objects = []
    for one in found:
        entry: dict[str, Any] = {
            "name": one.name,
            "class_id": one.class_id,
            "score": one.score,
            "box": list(one.box),
        }
        if one.mask is not None:
            entry["mask"] = one.mask.to_rle(*size)
        if one.keypoints is not None:
            entry["keypoints"] = one.keypoints.tolist()
        if one.rotated_box is not None:
            entry["rotated_box"] = one.rotated_box.tolist()
        if one.track_id is not None:
            entry["track_id"] = one.track_id
        objects.append(entry)
    content: dict[str, Any] = {"objects": objects}
    if segments is not None:
        content["segments"] = [segment._asdict() for segment in segments]
    return content


def supervision_detections(found: Sequence[Found], size: tuple[int, int]) -> Any:
    """`supervision.Detections`, see `Result.to_supervision`.

    Args:
        found: the objects of one image.
        size: (height, width) of the image.
    """
    try:
        import supervision
    except ImportError as error:
        raise MissingPackageError(
            "to_supervision() needs the package supervision: pip install supervision"
        ) from error
    data: dict[str, Any] = {"class_name": np.array([one.name for one in found], dtype=str)}
    rotated = [one.rotated_box for one in found if one.rotated_box is not None]
    if rotated:
        data["xyxyxyxy"] = rotated_corners(np.stack(rotated))
    has_masks = any(one.mask is not None for one in found)
    has_tracks = any(one.track_id is not None for one in found)
    return supervision.Detections(
        xyxy=np.array([one.box for one in found], dtype=np.float32).reshape(-1, 4),
        confidence=np.array([one.score for one in found], dtype=np.float32),
        class_id=np.array([one.class_id for one in found], dtype=int),
        mask=np.stack([one.mask.full(*size) for one in found if one.mask]) if has_masks else None,
        tracker_id=np.array([one.track_id for one in found], dtype=int) if has_tracks else None,
        data=data,
    )
