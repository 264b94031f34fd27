"""Boxes as queries carry them, and how layers refine them.

N images, Q queries. A box is (cx, cy, w, h) in shares of the image, all in [0, 1].
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .position_encoding import cell_centers

# Of the finest map; each coarser one has boxes of twice the side.
_FIRST_SIDE = 0.05
# Cells whose centre is nearer to the border than this are not chosen, as published weights expect.
_BORDER = 0.01
# How far values are kept from 0 and 1 before their logits are taken.
_LEAST = 1e-5
# The logit of a box at a cell that cannot be chosen: its sigmoid is 1.
_FAR = 1e4


def inverse_sigmoid(values: Tensor) -> Tensor:
    """The logits of values in [0, 1], float of any shape; those of 0 and 1 are finite."""
    values = values.clamp(0, 1)
    return torch.log(values.clamp(min=_LEAST) / (1 - values).clamp(min=_LEAST))


def refine_boxes(boxes: Tensor, changes: Tensor) -> Tensor:
    """Move boxes by what a layer predicts, added to their logits.

    Args:
        boxes: (..., 4).
        changes: (..., 4) of any precision; the result is float32 at least.
    """
    return (inverse_sigmoid(boxes) + changes.to(boxes.dtype)).sigmoid()


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """(..., 4) centre and sides -> (..., 4) corners."""
    center, sides = boxes.split(2, dim=-1)
    return torch.cat([center - sides / 2, center + sides / 2], dim=-1)


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """(..., 4) corners -> (..., 4) centre and sides."""
    first, last = boxes.split(2, dim=-1)
    return torch.cat([(first + last) / 2, last - first], dim=-1)


def cell_boxes(
    shapes: Sequence[tuple[int, int]], device: torch.device | str | None = None
) -> Tensor:
    """A square box at each cell of some maps: what the first predictions start from.

    Args:
        shapes: (height, width) of each map, finest first.
        device: of the result.

    Returns:
        (S, 4) float32, S cells in all; sides are 0.05 in the first map, 0.1 in the next, ...
    """
    of_maps = []
    for level, shape in enumerate(shapes):
        centers = cell_centers(*shape, device)
        of_maps.append(torch.cat([centers, centers.new_full(centers.shape, _FIRST_SIDE)], dim=1))
        of_maps[-1][:, 2:] *= 2.0**level
    return torch.cat(of_maps)


def usable_cells(boxes: Tensor, hidden: Tensor | None) -> Tensor:
    """Which cells queries can start from: those away from the border and not in the padding.

    Args:
        boxes: (..., S, 4) of the cells, see `cell_boxes`.
        hidden: (N, S) bool, True for cells of the padding; None without.

    Returns:
        (..., S) bool.
    """
    usable = ((boxes > _BORDER) & (boxes < 1 - _BORDER)).all(dim=-1)
    return usable if hidden is None else usable & ~hidden


def place_logits(boxes: Tensor, usable: Tensor) -> Tensor:
    """The logits of the boxes of cells; at cells that are not usable, of boxes that are all 1.

    Args:
        boxes: (..., S, 4).
        usable: (N, S) bool.

    Returns:
        (N, S, 4).
    """
    logits = inverse_sigmoid(boxes).expand(usable.shape[0], -1, -1)
    return logits.masked_fill(~usable[:, :, None], _FAR)
