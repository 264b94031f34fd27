"""The heads that work on regions, under their old address; each has a file of its own."""

from .base import ROIHeads
from .build import ROI_HEADS_REGISTRY, build_roi_heads
from .label_proposals import (
    select_foreground_proposals,
    select_proposals_with_visible_keypoints,
)
from .res5 import Res5ROIHeads
from .standard import StandardROIHeads

__all__ = [
    "ROI_HEADS_REGISTRY",
    "ROIHeads",
    "Res5ROIHeads",
    "StandardROIHeads",
    "build_roi_heads",
    "select_foreground_proposals",
    "select_proposals_with_visible_keypoints",
]
