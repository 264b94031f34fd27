from .backbone import build_tiny_backbone
from .config import add_tinydet_config
from .dots import register_dots
from .evaluator import CountingEvaluator
from .mapper import GrayMapper

__all__ = [
    "CountingEvaluator",
    "GrayMapper",
    "add_tinydet_config",
    "build_tiny_backbone",
    "register_dots",
]
