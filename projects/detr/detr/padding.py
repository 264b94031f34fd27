"""Which cells of padded maps belong to the images, and the position encodings of these.

N images, C channels, a map of H x W cells, S = H * W.
"""

import torch
from torch import Tensor

from d2lite.modeling.padded import sizes_with_padding
from d2lite.modeling.transformer import sine_position_encoding
from d2lite.structures import ImageList

Shape = tuple[int, int]


def visible_cells(images: ImageList, shape: Shape) -> Tensor | None:
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


def hidden_cells(visible: Tensor | None, shape: Shape) -> Tensor | None:
    """(N, S) bool, True for cells of the padding; None without padding.

    Args:
        visible: see `visible_cells`.
        shape: (H, W) of the map.
    """
    if visible is None:
        return None
    rows, columns = (
        torch.arange(side, device=visible.device) >= visible[:, axis, None]
        for axis, side in enumerate(shape)
    )
    return (rows[:, :, None] | columns[:, None]).flatten(1)


def position_encoding(
    visible: Tensor | None,
    shape: Shape,
    channels: int,
    device: torch.device,
    *,
    temperature: float,
    offset: float,
) -> Tensor:
    """The sine encoding of cells, relative to the part of a map that an image has.

    Args:
        visible: see `visible_cells`.
        shape: (H, W) of the map.
        channels: C.
        device: of the result.
        temperature: see `sine_position_encoding`.
        offset: likewise.

    Returns:
        (S, C) float32, or (N, S, C) with padding, where it has no meaning.
    """
    waves = sine_position_encoding(*shape, channels, device, temperature, offset, visible)
    return waves.flatten(-2).mT
