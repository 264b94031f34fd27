"""The built-in dataset of drawn shapes."""

from .dataset import load_shapes, read_shapes_image, register_shapes
from .scene import CLASSES, KEYPOINTS, SPLITS

__all__ = [
    "CLASSES",
    "KEYPOINTS",
    "SPLITS",
    "load_shapes",
    "read_shapes_image",
    "register_shapes",
]
