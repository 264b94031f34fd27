"""YOLOX: real-time detection without anchors."""

from .config import add_yolox_config
from .darknet import (
    CSPDarknet,
    build_csp_darknet_backbone,
    build_csp_darknet_pafpn_backbone,
)
from .head import YOLOXHead
from .meta_arch import YOLOX

__all__ = [
    "YOLOX",
    "CSPDarknet",
    "YOLOXHead",
    "add_yolox_config",
    "build_csp_darknet_backbone",
    "build_csp_darknet_pafpn_backbone",
]
