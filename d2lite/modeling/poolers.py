"""Pool the features of boxes from the level of a feature pyramid that fits their size.

N images, B boxes in all of them, L levels.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch._jit_internal import is_scripting
from torchvision.ops import RoIPool

from d2lite.layers import ROIAlign, ROIAlignRotated, cat
from d2lite.structures import Boxes
from d2lite.utils.errors import ArgumentError, ConfigError
from d2lite.utils.tracing import is_tracing

__all__ = ["ROIPooler", "assign_boxes_to_levels", "convert_boxes_to_pooler_format"]

POOLER_TYPES = ("ROIAlign", "ROIAlignV2", "ROIAlignRotated", "ROIPool")


def assign_boxes_to_levels(
    box_lists: list[Boxes],
    min_level: int,
    max_level: int,
    canonical_box_size: int,
    canonical_level: int,
) -> Tensor:
    """Find the level that each box is pooled from: one coarser for twice the size.

    Args:
        box_lists: the boxes of each image.
        min_level: logarithm of the finest stride.
        max_level: logarithm of the coarsest stride.
        canonical_box_size: pixels; square root of the area of a box of `canonical_level`.
        canonical_level: logarithm of a stride.

    Returns:
        (B,) int64, index of the level, 0 the finest.

    Source: Lin 2017, arXiv:1612.03144, equation 1.
    """
    areas = cat([boxes.area() for boxes in box_lists])
    return _levels_of_areas(areas, min_level, max_level, canonical_box_size, canonical_level)


def _levels_of_areas(
    areas: Tensor, min_level: int, max_level: int, canonical_box_size: int, canonical_level: int
) -> Tensor:
    sizes = areas.sqrt()
    # The small number keeps a box of exactly the canonical size on its level, and log2 finite.
    levels = torch.floor(canonical_level + torch.log2(sizes / canonical_box_size + 1e-8))
    return levels.clamp(min=min_level, max=max_level).to(torch.int64) - min_level


def convert_boxes_to_pooler_format(box_lists: list[Boxes]) -> Tensor:
    """Join the boxes of all images, each with the index of its image in front.

    Args:
        box_lists: the boxes of each image.

    Returns:
        (B, 5) float, (image, x0, y0, x1, y1), or (B, 6) for rotated boxes.
    """
    boxes = cat([of_image.tensor for of_image in box_lists])
    counts = [of_image.tensor.shape[0] for of_image in box_lists]
    image = torch.cat([boxes.new_full((count, 1), float(i)) for i, count in enumerate(counts)])
    return torch.cat((image, boxes), dim=1)


class ROIPooler(nn.Module):
    """Region of interest pooling on one or several levels.

    Args:
        output_size: cells of the result, a number or (height, width).
        scales: 1 / stride of each level, fine to coarse, each half of the one before.
        sampling_ratio: samples a cell and axis; 0 for as many as the cell covers.
        pooler_type: "ROIPool" (rounded, Fast R-CNN), "ROIAlign" (half a cell off, old models),
            "ROIAlignV2" (exact) or "ROIAlignRotated".
        canonical_box_size: see `assign_boxes_to_levels`.
        canonical_level: see `assign_boxes_to_levels`.

    Raises:
        ConfigError: for an unknown type, or scales that are not halving powers of 2.
    """

    def __init__(
        self,
        output_size: int | Sequence[int],
        scales: Sequence[float],
        sampling_ratio: int,
        pooler_type: str,
        canonical_box_size: int = 224,
        canonical_level: int = 4,
    ) -> None:
        super().__init__()
        size = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
        if len(size) != 2 or canonical_box_size <= 0:
            raise ArgumentError(
                f"output_size={output_size}, canonical_box_size={canonical_box_size}: give one or "
                "two numbers of cells, and a size above 0."
            )
        self.output_size = size
        self.canonical_box_size = canonical_box_size
        self.canonical_level = canonical_level
        self.level_poolers = nn.ModuleList(
            _make_pooler(pooler_type, size, scale, sampling_ratio) for scale in scales
        )
        levels = [-math.log2(scale) for scale in scales]
        steps = [b - a for a, b in pairwise(levels)]
        if not all(level.is_integer() for level in levels) or any(step != 1 for step in steps):
            raise ConfigError(
                f"ROI pooling on strides {[1 / scale for scale in scales]}: they must be powers of "
                "2, each twice the one before. Choose IN_FEATURES accordingly."
            )
        self.min_level, self.max_level = int(levels[0]), int(levels[-1])

    def forward(self, x: list[Tensor], box_lists: list[Boxes]) -> Tensor:
        """Pool.

        Args:
            x: one (N, C, Hi, Wi) a level.
            box_lists: the boxes of each image, in pixels of the network's input.

        Returns:
            (B, C, height, width), in the order of images and of boxes in them.

        Raises:
            ArgumentError: if the number of levels or images differs.
        """
        if len(x) != len(self.level_poolers) or len(box_lists) != len(x[0]):
            raise ArgumentError(
                f"{len(x)} feature maps of {len(x[0]) if len(x) else 0} images and boxes of "
                f"{len(box_lists)} images; expected {len(self.level_poolers)} maps and as many "
                "lists of boxes as images."
            )
        if len(box_lists) == 0:
            rows, columns = self.output_size
            return x[0].new_zeros((0, x[0].shape[1], rows, columns))
        rois = convert_boxes_to_pooler_format(box_lists)
        if len(x) == 1:
            return self.level_poolers[0](x[0], rois)
        levels = assign_boxes_to_levels(
            box_lists,
            self.min_level,
            self.max_level,
            self.canonical_box_size,
            self.canonical_level,
        )
        # The counts below would become constants of a trace.
        # Nested, since TorchScript leaves out what depends on `is_scripting` alone.
        if not is_scripting():  # noqa: SIM102
            if is_tracing():
                return self._pool_level_by_level(x, rois, levels)
        # One sort instead of a search for the boxes of each level: one transfer to the CPU
        # gives the counts.
        order = torch.argsort(levels, stable=True)
        # (bincount would wait for a GPU to look at the smallest and the largest level.)
        each_level = torch.arange(len(x), device=levels.device)
        counts: list[int] = (levels == each_level[:, None]).sum(dim=1).tolist()
        parts = rois[order].split(counts)
        pooled_parts: list[Tensor] = []
        for i, pooler in enumerate(self.level_poolers):
            pooled_parts.append(pooler(x[i], parts[i]))
        pooled = torch.cat(pooled_parts)
        return pooled[torch.argsort(order)]

    @torch.jit.unused
    def pool_rows(self, x: list[Tensor], rois: Tensor) -> Tensor:
        """Pool boxes that are joined already, in a form that can be exported.

        Args:
            x: one (N, C, Hi, Wi) a level.
            rois: (B, 5) float, (image, x0, y0, x1, y1), B at least 1.

        Returns:
            (B, C, height, width).
        """
        if len(x) == 1:
            pooled: Tensor = self.level_poolers[0](x[0], rois)
            return pooled
        sides = rois[:, 3:] - rois[:, 1:3]
        limits = (self.min_level, self.max_level, self.canonical_box_size, self.canonical_level)
        return self._pool_level_by_level(x, rois, _levels_of_areas(sides.prod(dim=1), *limits))

    @torch.jit.unused
    def _pool_level_by_level(self, x: list[Tensor], rois: Tensor, levels: Tensor) -> Tensor:
        members = [(levels == level).nonzero().flatten() for level in range(len(x))]
        parts = [pooler(x[i], rois[members[i]]) for i, pooler in enumerate(self.level_poolers)]
        order = torch.cat(members)
        # Of the length of `levels`; that of `order` would be another one to an exporter.
        place = torch.zeros_like(levels).index_put(
            (order,), torch.arange(order.shape[0], device=order.device)
        )
        return torch.cat(parts)[place]


def _make_pooler(
    pooler_type: str, output_size: tuple[int, int], scale: float, sampling_ratio: int
) -> nn.Module:
    if pooler_type == "ROIPool":
        return RoIPool(output_size, spatial_scale=scale)
    if pooler_type == "ROIAlignRotated":
        return ROIAlignRotated(output_size, scale, sampling_ratio)
    if pooler_type in ("ROIAlign", "ROIAlignV2"):
        return ROIAlign(output_size, scale, sampling_ratio, aligned=pooler_type == "ROIAlignV2")
    raise ConfigError(f"POOLER_TYPE={pooler_type!r}: use one of {list(POOLER_TYPES)}.")
