"""ShapeSpec: what a module says about its feature map before any map exists."""

from dataclasses import dataclass
from typing import Any

__all__ = ["ShapeSpec"]


@dataclass
class ShapeSpec:
    """The static facts of one feature map; None where a fact is unknown.

    Typed Any, since code that reads a number here is for maps of which it is known.

    Attributes:
        channels: number of channels.
        height: rows, in cells.
        width: columns, in cells.
        stride: pixels of the network input per cell.
    """

    channels: Any = None
    height: Any = None
    width: Any = None
    stride: Any = None
