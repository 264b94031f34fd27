"""Rotated boxes of annotations: where they come from, and how they go through transforms.

A rotated box is (centre x, centre y, width, height, angle); pixels, and degrees counter-clockwise.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from fvcore.transforms.transform import Transform

from d2lite.data.transforms.labels import transform_points
from d2lite.structures import BoxMode, Instances, RotatedBoxes

from .annotations import as_one_transform, bitmap


def uses_rotated_boxes(cfg: Any) -> bool:
    """Whether the model of a config learns and predicts rotated boxes."""
    return bool(cfg.MODEL.PROPOSAL_GENERATOR.NAME == "RRPN")


def rotated_box(annotation: Mapping[str, Any]) -> np.ndarray:
    """The rotated box of an object.

    A box of five numbers is taken as it is. Where there are four and a mask (the corners that
    YOLO OBB and DOTA have are a polygon), it is the smallest rectangle around the mask: its longer
    side is the width, its angle is in (-90, 90]. Without a mask the box is upright.

    Args:
        annotation: "bbox", "bbox_mode" and "segmentation" of an object of a dataset dict.

    Returns:
        (5,) float64.
    """
    box, mask = annotation.get("bbox"), annotation.get("segmentation")
    if box is not None and len(box) == 5:
        return np.asarray(box, dtype=np.float64)
    if mask is not None and len(mask):
        points = _outline(mask)
        if len(points):
            return _smallest_rectangle(points)
    upright = np.asarray(box, dtype=np.float64)
    return BoxMode.convert(upright, annotation["bbox_mode"], BoxMode.XYWHA_ABS)


def fill_of_corners(annotation: Mapping[str, Any]) -> tuple[float, float] | None:
    """How four corners lie: DOTA and YOLO OBB write rotated boxes so.

    Args:
        annotation: "segmentation" of an object of a dataset dict.

    Returns:
        What they fill of the smallest rectangle around them, and of the upright one, 0 to 1; None
        for an object that is not one polygon of four corners.
    """
    mask = annotation.get("segmentation")
    if not isinstance(mask, list) or len(mask) != 1 or len(mask[0]) != 8:
        return None
    points = _outline(mask)
    x, y = points.T
    area = abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
    smallest = _smallest_rectangle(points)[2:4].prod()
    return area / max(smallest, 1e-9), area / max(np.ptp(points, axis=0).prod(), 1e-9)


def _outline(mask: Any) -> np.ndarray:
    """(N, 2) points whose hull is that of the mask."""
    if isinstance(mask, list):
        return np.concatenate([np.asarray(polygon, float).reshape(-1, 2) for polygon in mask])
    pixels = bitmap(mask) != 0
    rows = np.flatnonzero(pixels.any(axis=1))
    first = pixels[rows].argmax(axis=1)
    after = pixels.shape[1] - pixels[rows, ::-1].argmax(axis=1)
    return np.concatenate([np.stack([x, y], 1) for x in (first, after) for y in (rows, rows + 1)])


def _smallest_rectangle(points: np.ndarray) -> np.ndarray:
    corners = cv2.boxPoints(cv2.minAreaRect(points.astype(np.float32))).astype(np.float64)
    edges = corners[1:3] - corners[:2]
    lengths = np.hypot(*edges.T)
    x, y = edges[lengths.argmax()]
    angle = np.rad2deg(np.arctan2(-y, x))
    angle = 90 - (90 - angle) % 180
    return np.array([*corners.mean(axis=0), lengths.max(), lengths.min(), angle])


def rotated_instances(
    annotations: Sequence[Mapping[str, Any]],
    transforms: Transform | Sequence[Transform],
    image_size: tuple[int, int],
) -> Instances:
    """What a rotated model learns from: the objects of an image after its transforms.

    A rotated box is not cut; an object is left out when its centre left the image.

    Args:
        annotations: of the image before its transforms.
        transforms: what was done to it.
        image_size: height and width after it.

    Returns:
        gt_boxes, `RotatedBoxes` (N), and gt_classes (N,) int64.
    """
    transforms = as_one_transform(transforms)
    boxes = np.array([rotated_box(a) for a in annotations]).reshape(-1, 5)
    centres, is_inside = transform_points(transforms, boxes[:, :2])
    is_inside &= ((centres >= 0) & (centres <= image_size[::-1])).all(axis=1)
    moved = transforms.apply_rotated_box(boxes)
    objects = [
        {"bbox": moved[i], "category_id": annotations[i]["category_id"]}
        for i in np.flatnonzero(is_inside).tolist()
    ]
    return annotations_to_instances_rotated(objects, image_size)


def annotations_to_instances_rotated(
    annos: Sequence[Mapping[str, Any]], image_size: tuple[int, int]
) -> Instances:
    """Rotated boxes of an image as `Instances`; masks and keypoints are not carried.

    Args:
        annos: objects of one image; bbox is (cx, cy, w, h, counter-clockwise angle in degrees).
        image_size: height and width of the image.

    Returns:
        gt_boxes, `RotatedBoxes` (N) cut to the image, and gt_classes (N,) int64.
    """
    boxes = [np.asarray(a["bbox"], dtype=np.float32).reshape(5) for a in annos]
    target = Instances(image_size)
    table = np.stack(boxes) if boxes else np.zeros((0, 5), dtype=np.float32)
    target.gt_boxes = RotatedBoxes(torch.from_numpy(table))
    target.gt_boxes.clip(image_size)
    target.gt_classes = torch.tensor([int(a["category_id"]) for a in annos], dtype=torch.int64)
    return target
