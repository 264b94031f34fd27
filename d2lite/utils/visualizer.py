"""Old address of `d2lite.visualization`'s Visualizer; nothing in d2lite imports this file."""

from d2lite.visualization.canvas import VisImage
from d2lite.visualization.colormap import random_color
from d2lite.visualization.generic_mask import GenericMask
from d2lite.visualization.keypoints import _KEYPOINT_THRESHOLD
from d2lite.visualization.segmentation import (
    _BLACK,
    _LARGE_MASK_AREA_THRESH,
    _OFF_WHITE,
    _RED,
    _SMALL_OBJECT_AREA_THRESH,
    _PanopticPrediction,
)
from d2lite.visualization.text import _create_text_labels
from d2lite.visualization.visualizer import ColorMode, Visualizer

__all__ = [
    "_BLACK",
    "_KEYPOINT_THRESHOLD",
    "_LARGE_MASK_AREA_THRESH",
    "_OFF_WHITE",
    "_RED",
    "_SMALL_OBJECT_AREA_THRESH",
    "ColorMode",
    "GenericMask",
    "VisImage",
    "Visualizer",
    "_PanopticPrediction",
    "_create_text_labels",
    "random_color",
]
