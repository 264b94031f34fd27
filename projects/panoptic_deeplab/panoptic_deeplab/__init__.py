"""Panoptic-DeepLab (Cheng et al., CVPR 2020): panoptic segmentation without boxes."""

from .config import add_panoptic_deeplab_config
from .dataset_mapper import PanopticDeeplabDatasetMapper, build_train_mapper
from .panoptic_seg import (
    INS_EMBED_BRANCHES_REGISTRY,
    PanopticDeepLab,
    PanopticDeepLabInsEmbedHead,
    PanopticDeepLabSemSegHead,
    build_ins_embed_branch,
)
from .post_processing import get_panoptic_segmentation
from .target_generator import PanopticDeepLabTargetGenerator

__all__ = [
    "INS_EMBED_BRANCHES_REGISTRY",
    "PanopticDeepLab",
    "PanopticDeepLabInsEmbedHead",
    "PanopticDeepLabSemSegHead",
    "PanopticDeepLabTargetGenerator",
    "PanopticDeeplabDatasetMapper",
    "add_panoptic_deeplab_config",
    "build_ins_embed_branch",
    "build_train_mapper",
    "get_panoptic_segmentation",
]
