"""RTMDet and RTMDet-Ins: real-time detection and instance segmentation without anchors."""

from .config import add_rtmdet_config
from .cspnext import (
    CSPNeXt,
    CSPNeXtPAFPN,
    build_cspnext_backbone,
    build_cspnext_pafpn_backbone,
)
from .head import RTMDetHead
from .mask_head import MaskFeatures, mask_logits
from .meta_arch import RTMDet

__all__ = [
    "CSPNeXt",
    "CSPNeXtPAFPN",
    "MaskFeatures",
    "RTMDet",
    "RTMDetHead",
    "add_rtmdet_config",
    "build_cspnext_backbone",
    "build_cspnext_pafpn_backbone",
    "mask_logits",
]
