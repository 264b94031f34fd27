"""Transforms: what was done to an image, replayable on boxes, polygons, masks and points.

The base class, lists, flips and blending are fvcore's; the others are ours.
"""

from fvcore.transforms.transform import (
    BlendTransform,
    GridSampleTransform,
    HFlipTransform,
    NoOpTransform,
    ScaleTransform,
    Transform,
    TransformList,
    VFlipTransform,
)

from .color import ColorTransform, PILColorTransform
from .geometric import (
    CropTransform,
    ExtentTransform,
    HFlip_rotated_box,
    PadTransform,
    Resize_rotated_box,
    ResizeTransform,
)
from .rotation import RotationTransform

__all__ = [
    "BlendTransform",
    "ColorTransform",
    "CropTransform",
    "ExtentTransform",
    "GridSampleTransform",
    "HFlipTransform",
    "HFlip_rotated_box",
    "NoOpTransform",
    "PILColorTransform",
    "PadTransform",
    "ResizeTransform",
    "Resize_rotated_box",
    "RotationTransform",
    "ScaleTransform",
    "Transform",
    "TransformList",
    "VFlipTransform",
]
