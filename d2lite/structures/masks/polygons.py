"""Polygons as numbers: their area and their bitmap.

A polygon is a flat array x0, y0, x1, y1, ... of at least three corners, in pixels; an object is
the union of one or more of them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d2lite.utils.errors import DataError

from . import rle

# Boxes thinner than this, in pixels, are stretched as if they had this side.
_LEAST_SIDE = 0.1

# COCO counts in fifths of a pixel.
_FIFTHS = 5.0
# Pixels around an object that are drawn with it; its rule looks at the next pixel at most.
_MARGIN = 2
# Bitmaps of fewer pixels are drawn whole, which is quicker than finding the window.
_SMALL = 128 * 128


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
    canvas = np.zeros((height, width), dtype=bool)
    draw_polygons(canvas, polygons)
    return canvas


def draw_polygons(canvas: NDArray[np.bool_], polygons: Sequence[NDArray[Any]]) -> None:
    """Draw one object into a bitmap, in place; the result is COCO's to the pixel.

    Only the window around the object is drawn and written, which for most objects is a
    small part of the image.

    Args:
        canvas: (height, width) bool, without any pixel set.
        polygons: the object's polygons; none draws nothing. They may reach far outside.

    Raises:
        DataError: for coordinates that are not finite; see `rle.from_polygons`.
    """
    if not len(polygons):
        return
    height, width = canvas.shape
    if height * width <= _SMALL:
        outlines = [np.asarray(polygon, dtype=np.float64).tolist() for polygon in polygons]
        canvas[:] = rle.decode(rle.from_polygons(outlines, height, width))
        return
    # The window moves by whole pixels, so that no point is rounded to another fifth than it would
    # be in the whole image.
    fifths = [
        np.trunc(np.asarray(polygon, dtype=np.float64) * _FIFTHS + 0.5).reshape(-1, 2)
        for polygon in polygons
    ]
    if not all(np.isfinite(points).all() for points in fifths):
        raise DataError(
            "A polygon has coordinates that are not finite; `d2lite data check` lists it."
        )
    low = np.min([points.min(axis=0) for points in fifths], axis=0) // _FIFTHS - _MARGIN
    high = np.max([points.max(axis=0) for points in fifths], axis=0) // _FIFTHS + _MARGIN + 1
    x0, y0 = (int(value) for value in low.clip(0, [width, height]))
    x1, y1 = (int(value) for value in high.clip(0, [width, height]))
    if x0 >= x1 or y0 >= y1:
        return
    corner = np.array([x0, y0]) * _FIFTHS
    moved = [points - corner for points in fifths]
    # COCO rounds towards zero, so points beyond the border need another fifth to come out again.
    outlines = [((points - (points < 0)) / _FIFTHS).reshape(-1).tolist() for points in moved]
    canvas[y0:y1, x0:x1] = rle.decode(rle.from_polygons(outlines, y1 - y0, x1 - x0))


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
