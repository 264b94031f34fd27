"""Inputs of the visualizer, converted to arrays and `GenericMask`s."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from d2lite.structures import BoxMode
from d2lite.utils.errors import DataError
from d2lite.utils.file_io import PathManager

from .generic_mask import GenericMask
from .shapes import rotated_corners, upright_boxes

# OpenCV draws in integers of 32 bits, in fractions of a pixel.
_FARTHEST = 1e6


def to_generic_masks(masks: Any, height: int, width: int) -> list[GenericMask]:
    """Convert N masks of any form to `GenericMask`s.

    Args:
        masks: `BitMasks`, `PolygonMasks`, (N, H, W) array or tensor, or a list of single masks.
        height: of the picture.
        width: of the picture.
    """
    if hasattr(masks, "polygons"):
        masks = masks.polygons
    elif hasattr(masks, "tensor"):
        masks = masks.tensor
    if isinstance(masks, torch.Tensor):
        masks = masks.detach().cpu().numpy()
    return [
        mask if isinstance(mask, GenericMask) else GenericMask(_single(mask), height, width)
        for mask in masks
    ]


def _single(mask: Any) -> Any:
    return mask.detach().cpu().numpy() if isinstance(mask, torch.Tensor) else mask


def has_area(segmentation: Any) -> bool:
    """Whether an annotation has a mask, of any form."""
    return segmentation is not None and len(segmentation) > 0


def to_array(values: Any) -> np.ndarray[Any, Any]:
    """Boxes or keypoints of any form as float64 array; an empty list as (0, 4).

    A model that diverges predicts numbers that no picture has: they become 0 (NaN) or the farthest
    that can be drawn.
    """
    values = getattr(values, "tensor", values)
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    array = np.nan_to_num(np.asarray(values, dtype=np.float64)).clip(-_FARTHEST, _FARTHEST)
    return array.reshape(0, 4) if array.size == 0 and array.ndim < 2 else array


def fields_of(predictions: Any) -> dict[str, Any]:
    """The fields of `Instances`.

    Raises:
        DataError: for the dict that a model gives for an image.
    """
    if isinstance(predictions, dict):
        raise DataError(
            f"draw a model's 'instances', not the whole dict of {', '.join(predictions)}: "
            "draw_instance_predictions(outputs['instances'])."
        )
    fields: dict[str, Any] = predictions.get_fields()
    return fields


def to_list(values: torch.Tensor | None) -> list[Any] | None:
    """A tensor on any device as list of numbers; None stays None."""
    return None if values is None else values.tolist()


def common_length(**parts: Any) -> int:
    """The one length of all parts that are not None, 0 where there is none.

    Raises:
        DataError: naming every length, if they differ.
    """
    lengths = {name: len(part) for name, part in parts.items() if part is not None}
    if len(set(lengths.values())) > 1:
        raise DataError(
            "each instance needs one of each, but there are "
            + ", ".join(f"{count} {name}" for name, count in lengths.items())
            + "."
        )
    return next(iter(lengths.values()), 0)


def extents_of(
    boxes: np.ndarray | None, masks: list[GenericMask] | None, keypoints: np.ndarray | None
) -> np.ndarray[Any, Any]:
    """(N, 4) xyxy of each instance: its box, or that around its mask or its keypoints."""
    if boxes is not None:
        return upright_boxes(boxes) if boxes.shape[1] == 5 else boxes
    if masks is not None:
        return np.stack([mask.bbox() for mask in masks])
    if keypoints is not None:
        return np.concatenate([keypoints[:, :, :2].min(axis=1), keypoints[:, :, :2].max(axis=1)], 1)
    raise DataError("labels and colours have no place in the picture; pass boxes or masks too.")


def pixels_inside(
    masks: list[GenericMask] | None, boxes: Any, height: int, width: int
) -> np.ndarray[Any, Any]:
    """(H, W) bool: the pixels inside a mask. Without masks, those inside a box.

    Args:
        masks: N masks, or None.
        boxes: N boxes of any form, upright or rotated, or None.
        height: of the picture.
        width: of the picture.
    """
    inside = np.zeros((height, width), dtype=bool)
    if masks is None and boxes is not None:
        corners = to_array(boxes)
        if corners.shape[1] == 5:
            outlines = rotated_corners(corners).reshape(-1, 1, 8)
            masks = [GenericMask(list(outline), height, width) for outline in outlines]
        else:
            for x0, y0, x1, y1 in corners.clip(0).round().astype(int):
                inside[y0:y1, x0:x1] = True
    for mask in masks or ():
        inside |= mask.mask.astype(bool)
    return inside


def read_map(file_name: str, mode: str | None = None) -> np.ndarray[Any, Any]:
    """The pixels of a map of classes or segments.

    Args:
        file_name: path or address.
        mode: of Pillow, that the pixels are converted to; None for that of the file.
    """
    with PathManager.open(file_name, "rb") as stream, Image.open(stream) as image:
        return np.asarray(image.convert(mode) if mode else image)


def annotation_boxes(annotations: Sequence[Mapping[str, Any]]) -> np.ndarray | None:
    """The boxes of objects of a dataset dict.

    Returns:
        (N, 4) float64 xyxy, or (N, 5) centre, size and angle if one of them is rotated; None if one
        has no box.
    """
    if not all("bbox" in a for a in annotations):
        return None
    is_rotated = any(len(a["bbox"]) == 5 for a in annotations)
    mode = BoxMode.XYWHA_ABS if is_rotated else BoxMode.XYXY_ABS
    boxes = [
        a["bbox"] if len(a["bbox"]) == 5 else BoxMode.convert(list(a["bbox"]), a["bbox_mode"], mode)
        for a in annotations
    ]
    return np.array(boxes, dtype=np.float64)


def annotation_keypoints(annotations: Sequence[Mapping[str, Any]]) -> np.ndarray | None:
    """The keypoints of objects of a dataset dict.

    Returns:
        (N, K, 3) float64 x, y and visibility, which is 0 where an object has none; None if no
        object has any.
    """
    found = [np.asarray(a.get("keypoints", ()), dtype=np.float64).ravel() for a in annotations]
    length = max((len(points) for points in found), default=0)
    if not length:
        return None
    table = np.zeros((len(found), length))
    for row, points in zip(table, found, strict=True):
        row[: len(points)] = points
    return table.reshape(len(found), -1, 3)
