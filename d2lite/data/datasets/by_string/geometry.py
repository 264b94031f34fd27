"""Outlines of the shapes that labelling tools draw, as polygons x0, y0, x1, y1, ... in pixels."""

import math

# An ellipse becomes a polygon; with so many corners its area is 0.6 % too small.
_CORNERS = 32


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
