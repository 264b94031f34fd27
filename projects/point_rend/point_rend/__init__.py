"""PointRend (Kirillov et al., CVPR 2020): masks and semantic maps refined point by point."""

from .coarse_head import CoarseMaskHead, ConvFCHead
from .color_augmentation import ColorAugSSDTransform
from .config import add_pointrend_config
from .implicit_mask_head import ImplicitPointRendMaskHead
from .mask_head import PointRendMaskHead
from .point_head import (
    POINT_HEAD_REGISTRY,
    ImplicitPointHead,
    StandardPointHead,
    build_point_head,
    roi_mask_point_loss,
)
from .roi_heads import PointRendROIHeads
from .semantic_seg import PointRendSemSegHead, build_train_mapper

__all__ = [
    "POINT_HEAD_REGISTRY",
    "CoarseMaskHead",
    "ColorAugSSDTransform",
    "ConvFCHead",
    "ImplicitPointHead",
    "ImplicitPointRendMaskHead",
    "PointRendMaskHead",
    "PointRendROIHeads",
    "PointRendSemSegHead",
    "StandardPointHead",
    "add_pointrend_config",
    "build_point_head",
    "build_train_mapper",
    "roi_mask_point_loss",
]
