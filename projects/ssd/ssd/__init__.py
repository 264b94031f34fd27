"""SSD: boxes of several shapes at every cell of many maps, over VGG."""

from .anchors import SSDAnchorGenerator
from .config import add_ssd_config
from .meta_arch import SSD, SSDHead
from .targets import hard_negatives, match_anchors
from .vgg import SSDVGG, build_ssd_vgg_backbone

__all__ = [
    "SSD",
    "SSDVGG",
    "SSDAnchorGenerator",
    "SSDHead",
    "add_ssd_config",
    "build_ssd_vgg_backbone",
    "hard_negatives",
    "match_anchors",
]
