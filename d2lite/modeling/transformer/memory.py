"""Memory: encoded maps of a padded batch, as queries see them.

N images, L maps of S cells in all, Q queries, C channels.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from d2lite.structures import ImageList

from ..padded import sizes_with_padding
from .boxes import cell_boxes, usable_cells


class Memory(NamedTuple):
    """Encoded maps.

    Attributes:
        cells: (N, S, C), the cells of the maps one after the other.
        shapes: (height, width) of each map.
        hidden: (N, S) bool, True for cells of the padding; None without padding.
        ratios: (N, L, 2), the shares of the width and the height of each map that an image has;
            None without padding.
    """

    cells: Tensor
    shapes: list[tuple[int, int]]
    hidden: Tensor | None = None
    ratios: Tensor | None = None

    def places(self, reference: Tensor) -> Tensor:
        """(N, Q, 2 or 4) places in shares of an image -> the same in shares of each map."""
        if self.ratios is None:
            return reference
        factors = self.ratios.repeat(1, 1, reference.shape[-1] // 2)
        return reference[:, :, None] * factors[:, None]

    def in_images(self, centers: Tensor) -> Tensor:
        """(S, 2) or (N, S, 2) places of cells in shares of their map -> in shares of the image."""
        if self.ratios is None:
            return centers
        parts = [
            ratio[:, None].expand(-1, height * width, -1)
            for ratio, (height, width) in zip(self.ratios.unbind(1), self.shapes, strict=True)
        ]
        return centers / torch.cat(parts, dim=1)

    def cell_boxes(self) -> tuple[Tensor, Tensor]:
        """Boxes (N, S, 4) at cells, in shares of an image, and which are usable, (N, S) bool."""
        boxes = cell_boxes(self.shapes, self.cells.device).expand(self.cells.shape[0], -1, -1)
        if self.ratios is not None:
            boxes = torch.cat([self.in_images(boxes[..., :2]), boxes[..., 2:]], dim=-1)
        return boxes, usable_cells(boxes, self.hidden)

    def maps(self) -> list[Tensor]:
        """The cells as maps, (N, C, Hi, Wi) each."""
        parts = self.cells.split([height * width for height, width in self.shapes], dim=1)
        return [
            part.transpose(1, 2).unflatten(2, shape)
            for part, shape in zip(parts, self.shapes, strict=True)
        ]


def visible_cells(images: ImageList, shape: tuple[int, int]) -> Tensor | None:
    """Rows and columns of each image in a map: those that begin inside the image.

    Args:
        images: a padded batch.
        shape: (H, W) of the map.

    Returns:
        (N, 2) int64; None where no image is padded, which spares the masks.
    """
    sizes = sizes_with_padding(images)
    if sizes is None:
        return None
    sides = zip(sizes.unbind(1), shape, images.tensor.shape[-2:], strict=True)
    return torch.stack([(own * cells + all_ - 1) // all_ for own, cells, all_ in sides], dim=1)
