"""ATSS, GFL, VFNet, FSAF and FCOS with learned factors: dense detectors on a pyramid."""

from .atss import ATSS
from .config import add_dense_config
from .fsaf import FSAF
from .gfl import GFL
from .head import DenseHead
from .scaled_fcos import ScaledFCOS
from .vfnet import VFNet
from .vfnet_head import VFNetHead

__all__ = [
    "ATSS",
    "FSAF",
    "GFL",
    "DenseHead",
    "ScaledFCOS",
    "VFNet",
    "VFNetHead",
    "add_dense_config",
]
