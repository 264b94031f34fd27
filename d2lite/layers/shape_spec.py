"""ShapeSpec: what a module says about its feature map before any map exists."""

from dataclasses import dataclass

__all__ = ["ShapeSpec"]


@dataclass
class ShapeSpec:
    """The static facts of one feature map; None where a fact is unknown.

    Attributes:
        channels: number of channels.
        height: rows, in cells.
        width: columns, in cells.
        stride: pixels of the network input per cell.
    """

    channels: int | None = None
    height: int | None = None
    width: int | None = None
    stride: int | None = None
