"""Pictures of what a dataset or a model says."""

from .canvas import VisImage, legible_scale
from .colormap import colormap, random_color, random_colors
from .generic_mask import GenericMask
from .picture_file import write_picture
from .video_visualizer import VideoVisualizer
from .visualizer import ColorMode, Visualizer

__all__ = [
    "ColorMode",
    "GenericMask",
    "VideoVisualizer",
    "VisImage",
    "Visualizer",
    "colormap",
    "legible_scale",
    "random_color",
    "random_colors",
    "write_picture",
]
