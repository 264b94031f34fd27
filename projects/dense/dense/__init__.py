"""ATSS, GFL, VFNet, FSAF, SABL and FCOS with learned factors: dense detectors on a pyramid."""

from .atss import ATSS
from .config import add_dense_config
from .fsaf import FSAF
from .gfl import GFL
from .head import DenseHead
from .sabl import SABLRetinaNet
from .sabl_head import SABLHead
from .scaled_fcos import ScaledFCOS
from .vfnet import VFNet
from .vfnet_head import VFNetHead

__all__ = [
    "ATSS",
    "FSAF",
    "GFL",
    "DenseHead",
    "SABLHead",
    "SABLRetinaNet",
    "ScaledFCOS",
    "VFNet",
    "VFNetHead",
    "add_dense_config",
]
