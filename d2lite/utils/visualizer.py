"""Old address of `d2lite.visualization`'s Visualizer; nothing in d2lite imports this file."""

from d2lite.visualization.canvas import VisImage
from d2lite.visualization.generic_mask import GenericMask
from d2lite.visualization.segmentation import _PanopticPrediction
from d2lite.visualization.text import _create_text_labels
from d2lite.visualization.visualizer import ColorMode, Visualizer

__all__ = [
    "ColorMode",
    "GenericMask",
    "VisImage",
    "Visualizer",
    "_PanopticPrediction",
    "_create_text_labels",
]
