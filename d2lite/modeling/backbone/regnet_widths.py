"""How wide the stages of a RegNet are, from four numbers.

Source: Radosavovic 2020, arXiv:2003.13678, section 3.3.
"""

import math
from collections.abc import Sequence

import numpy as np

from d2lite.utils.errors import ConfigError


def adjust_block_compatibility(
    ws: Sequence[int], bs: Sequence[float], gs: Sequence[int]
) -> tuple[list[int], list[float], list[int]]:
    """Change widths a little so that groups divide them, in the middle of the blocks too.

    Args:
        ws: width of each stage, positive.
        bs: width in the middle over width, of each stage.
        gs: channels a group, of each stage.

    Returns:
        The widths that fit, the same ratios, and group widths cut to the widths in the middle.

    Raises:
        ConfigError: if the lists differ in length or a width is not positive.
    """
    if not len(ws) == len(bs) == len(gs) or min(*ws, *bs, *gs, 1) <= 0:
        raise ConfigError(
            f"A RegNet of widths {list(ws)}, ratios {list(bs)} and group widths {list(gs)}: give "
            "one positive number a stage in each."
        )
    widths, groups = [], []
    for width, ratio, group in zip(ws, bs, gs, strict=True):
        middle = int(max(1, width * ratio))
        group = int(min(group, middle))
        # Where blocks widen in the middle by a whole number, that must divide it as well.
        unit = math.lcm(group, int(ratio)) if ratio > 1 else group
        middle = max(unit, int(round(middle / unit) * unit))
        widths.append(int(middle / ratio))
        groups.append(group)
    return widths, list(bs), groups


def generate_regnet_parameters(
    w_a: float, w_0: int, w_m: float, d: int, q: int = 8
) -> tuple[list[int], list[int], int, int, list[int], list[float]]:
    """Lay the widths of all blocks along a line and quantise them.

    Args:
        w_a: slope of the line, at least 0.
        w_0: its start, a multiple of `q`.
        w_m: from one width to the next, more than 1.
        d: number of blocks.
        q: widths are multiples of this.

    Returns:
        width and number of blocks of each stage, the number of stages, the number of steps of
        `w_m` up to the last block plus one, and for each block its width and its point on the line.

    Raises:
        ConfigError: for numbers that make no network.
    """
    if w_a < 0 or w_0 <= 0 or w_m <= 1 or w_0 % q:
        raise ConfigError(
            f"A RegNet of w_a={w_a}, w_0={w_0}, w_m={w_m}: w_a must be at least 0, w_m more than 1 "
            f"and w_0 a positive multiple of {q} (MODEL.REGNET.W_A, W_0, W_M)."
        )
    line = w_0 + w_a * np.arange(d)
    steps = np.round(np.log(line / w_0) / np.log(w_m))
    rounded = (np.round(w_0 * np.power(w_m, steps) / q) * q).astype(int)
    widths, depths = np.unique(rounded, return_counts=True)
    return (
        widths.tolist(),
        depths.tolist(),
        len(widths),
        int(steps.max()) + 1,
        rounded.tolist(),
        line.tolist(),
    )
