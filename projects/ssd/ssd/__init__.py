"""SSD and SSDLite: boxes of several shapes at every cell of many maps."""

from .anchors import SSDAnchorGenerator
from .config import add_ssd_config
from .meta_arch import SSD, SSDHead
from .mobilenet import SSDMobileNetV2, build_ssd_mobilenetv2_backbone
from .targets import hard_negatives, match_anchors
from .vgg import SSDVGG, build_ssd_vgg_backbone

__all__ = [
    "SSD",
    "SSDVGG",
    "SSDAnchorGenerator",
    "SSDHead",
    "SSDMobileNetV2",
    "add_ssd_config",
    "build_ssd_mobilenetv2_backbone",
    "build_ssd_vgg_backbone",
    "hard_negatives",
    "match_anchors",
]
