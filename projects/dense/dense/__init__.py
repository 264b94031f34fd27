"""ATSS, GFL, VFNet and FCOS with a learned factor for each level: dense detectors on a pyramid."""

from .atss import ATSS
from .config import add_dense_config
from .gfl import GFL
from .head import DenseHead
from .scaled_fcos import ScaledFCOS
from .vfnet import VFNet
from .vfnet_head import VFNetHead

__all__ = [
    "ATSS",
    "GFL",
    "DenseHead",
    "ScaledFCOS",
    "VFNet",
    "VFNetHead",
    "add_dense_config",
]
