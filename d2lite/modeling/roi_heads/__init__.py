"""What is done with proposals: classes, better boxes, masks and keypoints."""

from .base import ROIHeads
from .box_head import FastRCNNConvFCHead
from .build import (
    ROI_BOX_HEAD_REGISTRY,
    ROI_HEADS_REGISTRY,
    ROI_KEYPOINT_HEAD_REGISTRY,
    ROI_MASK_HEAD_REGISTRY,
    build_box_head,
    build_keypoint_head,
    build_mask_head,
    build_roi_heads,
)
from .cascade_rcnn import CascadeROIHeads
from .fast_rcnn import FastRCNNOutputLayers
from .keypoint_head import BaseKeypointRCNNHead, KRCNNConvDeconvUpsampleHead
from .label_proposals import select_foreground_proposals
from .mask_head import BaseMaskRCNNHead, MaskRCNNConvUpsampleHead
from .res5 import Res5ROIHeads
from .rotated_fast_rcnn import RROIHeads
from .standard import StandardROIHeads

__all__ = [
    "ROI_BOX_HEAD_REGISTRY",
    "ROI_HEADS_REGISTRY",
    "ROI_KEYPOINT_HEAD_REGISTRY",
    "ROI_MASK_HEAD_REGISTRY",
    "BaseKeypointRCNNHead",
    "BaseMaskRCNNHead",
    "CascadeROIHeads",
    "FastRCNNConvFCHead",
    "FastRCNNOutputLayers",
    "KRCNNConvDeconvUpsampleHead",
    "MaskRCNNConvUpsampleHead",
    "ROIHeads",
    "RROIHeads",
    "Res5ROIHeads",
    "StandardROIHeads",
    "build_box_head",
    "build_keypoint_head",
    "build_mask_head",
    "build_roi_heads",
    "select_foreground_proposals",
]
