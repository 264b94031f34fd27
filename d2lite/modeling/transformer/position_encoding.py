"""Positions of the cells of maps: as places, and as waves that a network adds to its features."""

import math
from typing import Any

import torch
from torch import Tensor

from d2lite.utils.errors import ConfigError

# Ratio of the longest wave to the shortest, in all published encodings.
_TEMPERATURE = 10000.0


def cell_centers(height: int, width: int, device: torch.device | str | None = None) -> Tensor:
    """The centres of the cells of a map, row by row.

    Args:
        height: rows.
        width: columns.
        device: of the result.

    Returns:
        (height * width, 2) float32 (x, y), (0, 0) the upper left corner of the map and (1, 1) the
        lower right one.
    """
    y, x = (
        (torch.arange(side, device=device, dtype=torch.float32) + 0.5) / side
        for side in (height, width)
    )
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1)


def sine_position_encoding(
    height: int,
    width: int,
    channels: int,
    device: torch.device | str | None = None,
    temperature: float = _TEMPERATURE,
    offset: float = 0.0,
    visible: Tensor | None = None,
) -> Tensor:
    """Sines and cosines of a cell's row and column, of ever longer waves.

    The row r of H, from 1, is the angle 2 pi (r + offset) / H. Channel 2k of the first half is the
    sine of the angle over temperature^(4k / channels), channel 2k + 1 its cosine; the second half
    is the same of the column.

    Args:
        height: rows of the map.
        width: columns of the map.
        channels: a multiple of 4.
        device: of the result.
        temperature: ratio of the longest wave to the shortest.
        offset: 0 for the far edge of a cell, -0.5 for its centre.
        visible: (N, 2) int64, the H and W of each image in a padded map; None for the whole map.

    Returns:
        (channels, height, width) float32; (N, channels, height, width) with `visible`.

    Raises:
        ConfigError: for another number of channels.

    Source: Carion 2020 (DETR), arXiv:2005.12872, appendix A.4.
    """
    if channels % 4:
        raise ConfigError(f"A position encoding of {channels} channels; give a multiple of 4.")
    waves = channels // 4
    # Powers of a float64 on the host differ from these in the last digit.
    exponents = torch.arange(waves, device=device, dtype=torch.float32) / waves
    lengths = temperature**exponents
    halves = []
    for axis, side in enumerate((height, width)):
        steps = torch.arange(1, side + 1, device=device, dtype=torch.float32) + offset
        whole: Any = side + 1e-6
        if visible is not None:
            whole = (visible[:, axis, None, None].double() + 1e-6).float()
        angles = 2 * math.pi * steps / whole / lengths[:, None]
        halves.append(torch.stack([angles.sin(), angles.cos()], dim=-2).flatten(-3, -2))
    rows, columns = halves[0][..., None], halves[1][..., None, :]
    rows, columns = rows.expand(*rows.shape[:-1], width), columns.expand(*rows.shape[:-1], width)
    return torch.cat([rows, columns], dim=-3)


def grid_position_encoding(
    height: int,
    width: int,
    channels: int,
    device: torch.device | str | None = None,
) -> Tensor:
    """Sines and cosines of the numbers of a cell's row and column, counted from 0.

    The quarters are the sines and the cosines of the row, and then those of the column; wave k of
    a quarter has the angle number / 10000^(4k / channels).

    Args:
        height: rows of the map.
        width: columns of the map.
        channels: a multiple of 4.
        device: of the result.

    Returns:
        (height * width, channels) float32, row by row.

    Raises:
        ConfigError: for another number of channels.

    Source: Zhao 2023 (RT-DETR), arXiv:2304.08069.
    """
    if channels % 4:
        raise ConfigError(f"A position encoding of {channels} channels; give a multiple of 4.")
    waves = channels // 4
    exponents = torch.arange(waves, device=device, dtype=torch.float32) / waves
    halves = []
    for side in (height, width):
        numbers = torch.arange(side, device=device, dtype=torch.float32)
        angles = numbers[:, None] / _TEMPERATURE**exponents
        halves.append(torch.cat([angles.sin(), angles.cos()], dim=1))
    rows, columns = halves
    cells = torch.cat(
        [rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1)], dim=2
    )
    return cells.flatten(0, 1)


def sine_box_encoding(boxes: Tensor, channels: int, temperature: float = _TEMPERATURE) -> Tensor:
    """Sines and cosines of each number of a box, of ever longer waves.

    The number x is the angle 2 pi x; channel 2k of its part is the sine of the angle over
    temperature^(2k / channels), channel 2k + 1 the cosine.

    Args:
        boxes: (..., D) float32 in [0, 1].
        channels: of each number, even.
        temperature: ratio of the longest wave to the shortest.

    Returns:
        (..., D * channels) float32, number by number.

    Source: Liu 2022 (DAB-DETR), arXiv:2201.12329, section 3.3.
    """
    waves = channels // 2
    exponents = torch.arange(waves, device=boxes.device, dtype=torch.float32) / waves
    angles = 2 * math.pi * boxes[..., None] / temperature**exponents
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-3)
