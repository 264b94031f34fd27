"""RT-DETR, RT-DETRv2 and D-FINE: real-time detectors whose queries predict boxes without NMS."""

from .config import add_rtdetr_config
from .fine_decoder import FineDecoder
from .hgnet import HGNetV2, build_hgnet_backbone
from .meta_arch import RTDETR
from .optimizer import build_train_optimizer
from .query_decoder import QueryDecoder

__all__ = [
    "RTDETR",
    "FineDecoder",
    "HGNetV2",
    "QueryDecoder",
    "add_rtdetr_config",
    "build_hgnet_backbone",
    "build_train_optimizer",
]
