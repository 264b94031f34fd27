"""Polygons as numbers: their area and their bitmap.

A polygon is a flat array x0, y0, x1, y1, ... of at least three corners, in pixels; an object is
the union of one or more of them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pycocotools.mask as coco_mask
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["polygon_area", "polygons_to_bitmask", "rasterize_polygons_within_box"]

# Boxes thinner than this, in pixels, are stretched as if they had this side.
_LEAST_SIDE = 0.1


def polygon_area(x: NDArray[Any], y: NDArray[Any]) -> float:
    """Area of a polygon by the shoelace formula, in square pixels.

    Args:
        x: (K,) x of the corners, in order.
        y: (K,) y of the corners.
    """
    cross = x * np.roll(y, -1) - y * np.roll(x, -1)
    return float(abs(cross.sum()) / 2)


def polygons_to_bitmask(
    polygons: Sequence[NDArray[Any]], height: int, width: int
) -> NDArray[np.bool_]:
    """Draw one object.

    Args:
        polygons: its polygons; none gives an empty bitmap.
        height: of the bitmap, in pixels.
        width: of the bitmap, in pixels.

    Returns:
        (height, width) bool, by COCO's rule for which pixels a polygon covers.
    """
    if not len(polygons):
        return np.zeros((height, width), dtype=bool)
    outlines = [np.asarray(polygon, dtype=np.float64).tolist() for polygon in polygons]
    runs = coco_mask.merge(coco_mask.frPyObjects(outlines, height, width))
    return np.asarray(coco_mask.decode(runs), dtype=bool)


def rasterize_polygons_within_box(
    polygons: Sequence[NDArray[Any]], box: NDArray[Any], mask_size: int
) -> Tensor:
    """Draw what a box shows of one object, stretched to a square.

    Args:
        polygons: the object's polygons.
        box: (4,) xyxy in pixels.
        mask_size: side of the result, in cells.

    Returns:
        (mask_size, mask_size) bool.
    """
    corner = np.asarray(box[:2], dtype=np.float64)
    sides = np.asarray(box[2:], dtype=np.float64) - corner
    stretch = mask_size / np.maximum(sides, _LEAST_SIDE)
    placed = [
        ((np.reshape(polygon, (-1, 2)) - corner) * stretch).reshape(-1) for polygon in polygons
    ]
    return torch.from_numpy(polygons_to_bitmask(placed, mask_size, mask_size))
