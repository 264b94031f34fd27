"""The built-in images, their labels: which segment each pixel belongs to."""

import cv2
import numpy as np

from .scene import fill, lay_out


def draw_segment_ids(split: str, index: int) -> np.ndarray:
    """Number the segments of an image.

    Args:
        split: "train" or "val".
        index: number of the image, from 0.

    Returns:
        (H, W) uint8: 1, 2, ... for the figures from the lowest to the topmost, and the number
        after theirs for the ground.
    """
    scene = lay_out(split, index)
    shape = scene.height, scene.width
    segment_ids = np.full(shape, len(scene.figures) + 1, dtype=np.uint8)
    for number, figure in enumerate(scene.figures, start=1):
        fine = fill(figure.outline, (0, 0), shape)
        share = cv2.resize(fine, shape[::-1], interpolation=cv2.INTER_AREA)
        segment_ids[share > 127] = number  # a pixel is whose half of it is
    return segment_ids


def has_ground(split: str, index: int) -> bool:
    """Whether figures leave some of an image free; see `draw_segment_ids`."""
    scene = lay_out(split, index)
    seen = sum(
        cv2.contourArea(polygon.astype(np.float32))
        for figure in scene.figures
        for polygon in figure.polygons
    )
    # A sum of areas answers this without drawing 400 maps; figures never fill nearly all.
    return bool(seen < 0.98 * scene.height * scene.width)
