"""Mask R-CNN of ResNet-50 with an FPN."""

from ..data.constants import constants
from .parts import mask_rcnn_fpn

__all__ = ["constants", "model"]

model = mask_rcnn_fpn()
