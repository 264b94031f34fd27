"""EoMT: segmentation of every kind by a plain vision transformer that carries queries along."""

from .config import add_eomt_config
from .meta_arch import EoMT

__all__ = ["EoMT", "add_eomt_config"]
