"""One outline for an object, for formats that have no more."""

from typing import Any

import numpy as np

from d2lite.visualization.generic_mask import GenericMask


def as_polygons(mask: Any, height: int, width: int) -> tuple[list[list[float]], bool]:
    """The outlines of any kind of mask.

    Args:
        mask: polygons, RLE or a (H, W) array.
        height: of the image.
        width: of the image.

    Returns:
        Polygons x0, y0, x1, y1, ..., and whether they were given as such; drawn ones are good to
        a pixel and fill holes.
    """
    if isinstance(mask, list):
        return [[float(value) for value in polygon] for polygon in mask], True
    traced = GenericMask(mask, height, width).polygons
    return [polygon.tolist() for polygon in traced], False


def joined(polygons: list[list[float]]) -> list[float]:
    """Several polygons as one, by bridges of no width.

    Each part is joined where it comes nearest: the outline goes there, around the part, and back
    the same way, so that the filled pixels stay the same.

    Args:
        polygons: at least one, x0, y0, x1, y1, ...
    """
    whole, *parts = (np.asarray(polygon, dtype=np.float64).reshape(-1, 2) for polygon in polygons)
    for part in parts:
        distances = np.square(whole[:, None] - part[None]).sum(axis=2)
        here, there = np.unravel_index(distances.argmin(), distances.shape)
        around = np.concatenate([part[there:], part[: there + 1]])
        whole = np.concatenate([whole[: here + 1], around, whole[here:]])
    return whole.reshape(-1).tolist()
