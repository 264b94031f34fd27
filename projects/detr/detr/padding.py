"""Which cells of padded maps belong to the images, and the position encodings of these.

N images, C channels, a map of H x W cells, S = H * W.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from d2lite.modeling.transformer import sine_position_encoding
from d2lite.structures import ImageList

Shape = tuple[int, int]


def visible_cells(images: ImageList, shape: Shape) -> list[Shape] | None:
    """Rows and columns of each image in a map: those that begin inside the image.

    Args:
        images: a padded batch.
        shape: (H, W) of the map.

    Returns:
        (rows, columns) of each image; None where no image is padded, which spares the masks.
    """
    padded = images.tensor.shape[-2:]
    if all(tuple(size) == tuple(padded) for size in images.image_sizes):
        return None
    return [
        (-(-height * shape[0] // padded[0]), -(-width * shape[1] // padded[1]))
        for height, width in images.image_sizes
    ]


def hidden_cells(
    visible: Sequence[Shape] | None, shape: Shape, device: torch.device
) -> Tensor | None:
    """(N, S) bool, True for cells of the padding; None without padding.

    Args:
        visible: see `visible_cells`.
        shape: (H, W) of the map.
        device: of the result.
    """
    if visible is None:
        return None
    counts = torch.tensor(visible, device=device)
    rows, columns = (
        torch.arange(side, device=device) >= counts[:, axis, None]
        for axis, side in enumerate(shape)
    )
    return (rows[:, :, None] | columns[:, None]).flatten(1)


def position_encoding(
    visible: Sequence[Shape] | None,
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
        (S, C) float32, or (N, S, C) with padding, where it is 0.
    """

    def encode(part: Shape) -> Tensor:
        waves = sine_position_encoding(*part, channels, device, temperature, offset)
        padded = F.pad(waves, (0, shape[1] - part[1], 0, shape[0] - part[0]))
        return padded.flatten(1).T

    if visible is None:
        return encode(shape)
    return torch.stack([encode(part) for part in visible])
