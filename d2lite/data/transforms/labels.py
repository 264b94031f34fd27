"""What is on an image through the transforms of the image: what falls outside stays outside.

In a chain of steps a box or a point that one step cut off must not come back by the next one, which
shrinks the image or pads it: there are no pixels of it any more.
"""

from collections.abc import Sequence

import numpy as np
from fvcore.transforms.transform import CropTransform, Transform, TransformList

from .polygon_clip import clip_polygon


def transform_boxes(transform: Transform, boxes: np.ndarray) -> np.ndarray:
    """Boxes after a transform, each cut where a step cut the image.

    Args:
        transform: one, or a list of them.
        boxes: (N, 4) float, xyxy in pixels; not changed.
    """
    boxes = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    for step in _steps(transform):
        boxes = step.apply_box(boxes)
        if (window := _window_after(step)) is not None:
            boxes = boxes.clip(0, [window[1], window[0]] * 2)
    return boxes


def transform_points(transform: Transform, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points after a transform, and whether each was inside the image wherever a step cut it.

    Args:
        transform: one, or a list of them.
        points: (N, 2) float, (x, y) in pixels; not changed.

    Returns:
        (N, 2) float64 and (N,) bool.
    """
    points = np.array(points, dtype=np.float64).reshape(-1, 2)
    is_inside = np.ones(len(points), dtype=bool)
    for step in _steps(transform):
        points = step.apply_coords(points)
        if (window := _window_after(step)) is not None:
            is_inside &= ((points >= 0) & (points <= window[::-1])).all(axis=1)
    return points, is_inside


def transform_polygons(transform: Transform, polygons: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Polygons after a transform, each cut where a step cut the image; the count may change.

    Args:
        transform: one, or a list of them.
        polygons: (P, 2) float each, (x, y) in pixels; not changed.
    """
    parts = [np.array(polygon, dtype=np.float64).reshape(-1, 2) for polygon in polygons]
    for step in _steps(transform):
        parts = step.apply_polygons(parts)
        if (window := _window_after(step)) is not None:
            parts = [piece for part in parts for piece in _inside(part, *window)]
    return parts


def _inside(polygon: np.ndarray, height: int, width: int) -> list[np.ndarray]:
    if ((polygon >= 0) & (polygon <= [width, height])).all():
        return [polygon]
    return clip_polygon(polygon, 0, 0, width, height)


def _window_after(step: Transform) -> tuple[int, int] | None:
    """Height and width of the image after a step that may have cut it, else None."""
    if isinstance(step, CropTransform):
        return step.h, step.w
    # Rotation, extent and affine steps say it alike.
    size: tuple[int, int] | None = getattr(step, "output_size", None)
    return size


def transform_mask(transform: Transform, mask: np.ndarray) -> np.ndarray:
    """An object's mask after a transform; there is no object outside the image.

    Padding has a value for classes, which in a mask would be an object: a transform may therefore
    have a method `apply_mask`, which goes before its `apply_segmentation`.

    Args:
        transform: one, or a list of them.
        mask: (H, W) bool or uint8.
    """
    for step in _steps(transform):
        change = getattr(step, "apply_mask", None) or step.apply_segmentation
        mask = change(mask)
    return mask


def transform_labels(transform: Transform, labels: np.ndarray, ignore_value: int) -> np.ndarray:
    """A map of classes after a transform.

    Args:
        transform: one, or a list of them.
        labels: (H, W) integer class of each pixel.
        ignore_value: the class of pixels that come in from outside the image, for transforms that
            have none of their own; they have an attribute `shows_outside`.
    """
    for step in _steps(transform):
        moved = step.apply_segmentation(labels)
        if getattr(step, "shows_outside", False):
            # DIFFERS: the reference fills the corners of a turned map with class 0.
            is_inside = step.apply_segmentation(np.ones(labels.shape, dtype=np.uint8)) > 0
            moved = np.where(is_inside, moved, np.array(ignore_value, dtype=labels.dtype))
        labels = moved
    return labels


def _steps(transform: Transform) -> Sequence[Transform]:
    return transform.transforms if isinstance(transform, TransformList) else [transform]
