"""Layers of two branches (cross stage partial), and the pyramid of real-time detectors on them."""

from .blocks import (
    CSPLayer,
    ResidualPair,
    SeparableConv,
    next_block,
)
from .pafpn import CSPPAFPN

__all__ = [
    "CSPPAFPN",
    "CSPLayer",
    "ResidualPair",
    "SeparableConv",
    "next_block",
]
