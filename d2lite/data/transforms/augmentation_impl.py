"""The old address of the augmentations, which live in spatial, crop and color."""

from .color import RandomBrightness, RandomContrast, RandomLighting, RandomSaturation
from .crop import FixedSizeCrop, MinIoURandomCrop, RandomCrop, RandomCrop_CategoryAreaConstraint
from .spatial import (
    RandomApply,
    RandomExtent,
    RandomFlip,
    RandomResize,
    RandomRotation,
    Resize,
    ResizeScale,
    ResizeShortestEdge,
)

__all__ = [
    "FixedSizeCrop",
    "MinIoURandomCrop",
    "RandomApply",
    "RandomBrightness",
    "RandomContrast",
    "RandomCrop",
    "RandomCrop_CategoryAreaConstraint",
    "RandomExtent",
    "RandomFlip",
    "RandomLighting",
    "RandomResize",
    "RandomRotation",
    "RandomSaturation",
    "Resize",
    "ResizeScale",
    "ResizeShortestEdge",
]
