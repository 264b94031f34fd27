"""The boxes that dense predictions refer to: a few around the centre of every cell.

Level i has Hi x Wi cells of a stride and A anchors a cell. Anchors are ordered (Hi, Wi, A).
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.layers import ShapeSpec
from d2lite.structures import Boxes, RotatedBoxes
from d2lite.utils.registry import Registry

from .anchor_grids import BufferList, GridOfAnchors, _broadcast_params, _create_grid_offsets

__all__ = [
    "ANCHOR_GENERATOR_REGISTRY",
    "BufferList",
    "DefaultAnchorGenerator",
    "RotatedAnchorGenerator",
    "_broadcast_params",
    "_create_grid_offsets",
    "build_anchor_generator",
]

ANCHOR_GENERATOR_REGISTRY = Registry(
    "ANCHOR_GENERATOR",
    reserved=("DefaultAnchorGenerator", "RotatedAnchorGenerator"),
)
ANCHOR_GENERATOR_REGISTRY.__doc__ = """
Anchor generators by name: callables of (cfg, input_shape: list[ShapeSpec]) that return a module
from a list of feature maps to a list of boxes, chosen by `MODEL.ANCHOR_GENERATOR.NAME`.
"""


def _base_sizes(
    sizes: Sequence[float], aspect_ratios: Sequence[float]
) -> list[tuple[float, float]]:
    """(width, height) of each anchor: area size**2, height / width the ratio; sizes outermost."""
    shapes = itertools.product(sizes, aspect_ratios)
    widths = [(math.sqrt(size**2.0 / ratio), ratio) for size, ratio in shapes]
    return [(width, ratio * width) for width, ratio in widths]


@ANCHOR_GENERATOR_REGISTRY.register()
class DefaultAnchorGenerator(GridOfAnchors):
    """Upright boxes of some sizes and aspect ratios around every cell.

    Args:
        sizes: square roots of the areas in pixels; a list for each level, or one list for all.
        aspect_ratios: height / width; likewise.
        strides: pixels a cell, of each level.
        offset: where in a cell the centre is, as a share of the stride, in [0, 1).

    Source: Ren 2015, arXiv:1506.01497.
    """

    box_dim: int = 4

    @configurable
    def __init__(
        self,
        *,
        sizes: Sequence[Sequence[float]] | Sequence[float],
        aspect_ratios: Sequence[Sequence[float]] | Sequence[float],
        strides: Sequence[int],
        offset: float = 0.5,
    ) -> None:
        super().__init__(strides, offset, SIZES=sizes, ASPECT_RATIOS=aspect_ratios)

    def generate_cell_anchors(
        self,
        sizes: Sequence[float] = (32, 64, 128, 256, 512),
        aspect_ratios: Sequence[float] = (0.5, 1, 2),
    ) -> Tensor:
        """Make the anchors around the point (0, 0).

        Args:
            sizes: square roots of the areas in pixels.
            aspect_ratios: height / width.

        Returns:
            (len(sizes) * len(aspect_ratios), 4) float32, xyxy; all ratios of the first size first.
        """
        corners = [
            (-w / 2.0, -h / 2.0, w / 2.0, h / 2.0) for w, h in _base_sizes(sizes, aspect_ratios)
        ]
        return torch.tensor(corners)

    def forward(self, features: list[Tensor]) -> list[Boxes]:
        """Repeat the anchors on the grids of feature maps.

        Args:
            features: one (N, C, Hi, Wi) a level; only shape and device matter.

        Returns:
            boxes of each level, Hi * Wi * A of them, in pixels of the network's input. The
            tensors are kept for the next call: don't change them in place.
        """
        return [Boxes(level) for level in self._on_grids(features)]

    def _shift_columns(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.stack((x, y, x, y), dim=1)


@ANCHOR_GENERATOR_REGISTRY.register()
class RotatedAnchorGenerator(GridOfAnchors):
    """Rotated boxes of some sizes, aspect ratios and angles around every cell.

    Args:
        sizes: square roots of the areas in pixels; a list for each level, or one list for all.
        aspect_ratios: height / width; likewise.
        strides: pixels a cell, of each level.
        angles: degrees, anticlockwise; a list for each level, or one list for all.
        offset: where in a cell the centre is, as a share of the stride, in [0, 1).

    Source: Ma 2017, arXiv:1703.01086.
    """

    box_dim: int = 5

    @configurable
    def __init__(
        self,
        *,
        sizes: Sequence[Sequence[float]] | Sequence[float],
        aspect_ratios: Sequence[Sequence[float]] | Sequence[float],
        strides: Sequence[int],
        angles: Sequence[Sequence[float]] | Sequence[float],
        offset: float = 0.5,
    ) -> None:
        super().__init__(strides, offset, SIZES=sizes, ASPECT_RATIOS=aspect_ratios, ANGLES=angles)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: list[ShapeSpec]) -> dict[str, Any]:
        """Arguments from `MODEL.ANCHOR_GENERATOR` and the strides of the maps."""
        angles = cfg.MODEL.ANCHOR_GENERATOR.ANGLES
        return {**super().from_config(cfg, input_shape), "angles": angles}

    def generate_cell_anchors(
        self,
        sizes: Sequence[float] = (32, 64, 128, 256, 512),
        aspect_ratios: Sequence[float] = (0.5, 1, 2),
        angles: Sequence[float] = (-90, -60, -30, 0, 30, 60, 90),
    ) -> Tensor:
        """Make the anchors around the point (0, 0).

        Args:
            sizes: square roots of the areas in pixels.
            aspect_ratios: height / width.
            angles: degrees.

        Returns:
            (len(sizes) * len(aspect_ratios) * len(angles), 5) float32, (0, 0, width, height,
            angle); angles vary fastest, sizes slowest.
        """
        rows = [
            (0.0, 0.0, width, height, float(angle))
            for width, height in _base_sizes(sizes, aspect_ratios)
            for angle in angles
        ]
        return torch.tensor(rows)

    def forward(self, features: list[Tensor]) -> list[RotatedBoxes]:
        """As of `DefaultAnchorGenerator`, rotated boxes."""
        return [RotatedBoxes(level) for level in self._on_grids(features)]

    def _shift_columns(self, x: Tensor, y: Tensor) -> Tensor:
        nothing = torch.zeros_like(x)
        return torch.stack((x, y, nothing, nothing, nothing), dim=1)


def build_anchor_generator(cfg: CfgNode, input_shape: list[ShapeSpec]) -> nn.Module:
    """Make the anchor generator that `MODEL.ANCHOR_GENERATOR.NAME` names.

    Args:
        cfg: the configuration.
        input_shape: the feature maps, of which the strides count.
    """
    return ANCHOR_GENERATOR_REGISTRY.get(cfg.MODEL.ANCHOR_GENERATOR.NAME)(cfg, input_shape)
