"""Configurations of MMDetection as configurations of ours."""

from .keys import Converted, convert_mmdet_config
from .python_config import parse_mmdet_config, read_mmdet_config

__all__ = [
    "Converted",
    "convert_mmdet_config",
    "parse_mmdet_config",
    "read_mmdet_config",
]
