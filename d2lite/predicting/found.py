"""Found and Segment: one object, and one segment of a panoptic result."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .cropped_mask import CroppedMask

Floats = NDArray[np.float32]


class Segment(NamedTuple):
    """One segment of a panoptic result.

    Attributes:
        id: its number in `Result.segment_map`.
        name: of the class.
        class_id: among the things or among the stuff.
        is_thing: whether it is one object.
        score: in [0, 1]; None where the model gives none.
        area: pixels.
    """

    id: int
    name: str
    class_id: int
    is_thing: bool
    score: float | None
    area: int


class Found(NamedTuple):
    """One object.

    Attributes:
        name: of its class.
        score: in [0, 1].
        box: x0, y0, x1, y1 in pixels.
        class_id: number of the class.
        mask: cut to its place; `mask.full(H, W)` is an array of the image's size, and
            `mask.outlines()` are polygons. None where the model has no masks.
        keypoints: (K, 3) x, y, score, or None.
        rotated_box: centre x, centre y, width, height, degrees counter-clockwise, or None.
        track_id: the same for one object in all frames of a video, or None.
    """

    name: str
    score: float
    box: tuple[float, float, float, float]
    class_id: int
    mask: CroppedMask | None = None
    keypoints: Floats | None = None
    rotated_box: Floats | None = None
    track_id: int | None = None
