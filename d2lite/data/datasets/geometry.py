"""Outlines of the shapes that labelling tools draw, as polygons x0, y0, x1, y1, ... in pixels."""

import math

import numpy as np

from d2lite.structures.masks import rle

# An ellipse becomes a polygon; with so many corners its area is 0.6 % too small.
_CORNERS = 32


# No image has so many; a size that a file gives must not fill the memory.
_MAX_PIXELS = 2**30
_MAX_COORDINATE = 2.0**20


def empty_mask(size: tuple[int, int]) -> np.ndarray:
    """A (H, W) bool mask of nothing, to draw on.

    Raises:
        ValueError: if no image is so large, or the size is not positive.
    """
    if min(size) <= 0 or size[0] * size[1] > _MAX_PIXELS:
        raise ValueError(f"an image of {size[1]} x {size[0]} pixels")
    return np.zeros(size, bool)


def drawn(polygons: list[list[float]], size: tuple[int, int]) -> np.ndarray:
    """A (H, W) bool mask of the pixels of polygons.

    Args:
        polygons: x0, y0, x1, y1, ...
        size: (height, width).

    Raises:
        ValueError: if the size or a coordinate is one that no image has.
    """
    mask = empty_mask(size)
    # pycocotools crashes the process where it gets other numbers.
    if not all(abs(value) < _MAX_COORDINATE for polygon in polygons for value in polygon):
        raise ValueError("a polygon far outside of any image")
    if any(len(polygon) < 6 for polygon in polygons):
        raise ValueError("a polygon of fewer than three points")
    if polygons:
        mask |= rle.decode(rle.from_polygons(polygons, *size)).astype(bool)
    return mask


def rectangle(x0: float, y0: float, x1: float, y1: float, degrees: float = 0.0) -> list[float]:
    """The corners of a box, turned clockwise about its centre."""
    cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
    return rotated([x0, y0, x1, y0, x1, y1, x0, y1], degrees, (cx, cy))


def rotated(polygon: list[float], degrees: float, centre: tuple[float, float]) -> list[float]:
    """A polygon turned about a point, clockwise as seen in an image (y points down)."""
    if not degrees:
        return polygon
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    cx, cy = centre
    turned = []
    for x, y in zip(polygon[0::2], polygon[1::2], strict=True):
        turned += [cx + cos * (x - cx) - sin * (y - cy), cy + sin * (x - cx) + cos * (y - cy)]
    return turned


def ellipse(cx: float, cy: float, rx: float, ry: float, degrees: float = 0.0) -> list[float]:
    """The outline of an ellipse with radii rx and ry, turned clockwise about its centre."""
    angles = (2 * math.pi * i / _CORNERS for i in range(_CORNERS))
    outline = [v for a in angles for v in (cx + rx * math.cos(a), cy + ry * math.sin(a))]
    return rotated(outline, degrees, (cx, cy))


def box_around_points(polygon: list[float]) -> list[float]:
    """The tight upright box, xyxy."""
    xs, ys = polygon[0::2], polygon[1::2]
    return [min(xs), min(ys), max(xs), max(ys)]
