"""Masks of objects: as bitmaps, as polygons, as maps over boxes."""

from .bit_masks import BitMasks
from .polygon_masks import PolygonMasks
from .polygons import (
    draw_polygons,
    polygon_area,
    polygons_to_bitmask,
    rasterize_polygons_within_box,
)
from .roi_masks import ROIMasks

__all__ = [
    "BitMasks",
    "PolygonMasks",
    "ROIMasks",
    "draw_polygons",
    "polygon_area",
    "polygons_to_bitmask",
    "rasterize_polygons_within_box",
]
