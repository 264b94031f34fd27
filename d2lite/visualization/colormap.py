"""Colours: the table that classes take theirs from, and what people may write for a colour.

Colours travel through this package as (r, g, b) float triples in [0, 1].
"""

import colorsys
import functools
import random
import re
from collections.abc import Sequence

import numpy as np
from PIL import ImageColor

from d2lite.utils.errors import DataError

Color = tuple[float, float, float]
ColorLike = str | Sequence[float] | np.ndarray

_NUM_COLORS = 96
_GOLDEN_RATIO = 0.6180339887498949
# Each turn around the colour circle has its own saturation and value, so that a hue which comes
# back after many classes is another colour: strong, pale, deep, dusty.
_RINGS = ((0.78, 1.0), (0.50, 1.0), (0.95, 0.80), (0.55, 0.78))
_RING_LENGTH = 12

# Names of matplotlib that CSS does not have.
_NAMED = {
    **{"b": "#0000ff", "g": "#008000", "r": "#ff0000", "c": "#00bfbf", "m": "#bf00bf"},
    **{"y": "#bfbf00", "k": "#000000", "w": "#ffffff", "tab:grey": "#7f7f7f"},
}
_TAB = {
    **{"blue": "#1f77b4", "orange": "#ff7f0e", "green": "#2ca02c", "red": "#d62728"},
    **{"purple": "#9467bd", "brown": "#8c564b", "pink": "#e377c2", "gray": "#7f7f7f"},
    **{"olive": "#bcbd22", "cyan": "#17becf"},
}
_NAMED |= {f"tab:{name}": code for name, code in _TAB.items()}
_NAMED |= {f"C{number}": code for number, code in enumerate(_TAB.values())}


@functools.cache
def _table() -> np.ndarray:
    rows = []
    for index in range(_NUM_COLORS):
        turn, _ = divmod(index, _RING_LENGTH)
        saturation, value = _RINGS[turn % len(_RINGS)]
        # The golden ratio spreads any number of consecutive hues evenly around the circle.
        hue = (0.02 + index * _GOLDEN_RATIO) % 1.0
        rows.append(colorsys.hsv_to_rgb(hue, saturation, value))
    table = np.array(rows)
    table.setflags(write=False)
    return table


def colormap(rgb: bool = False, maximum: int = 255) -> np.ndarray:
    """The table of colours that classes are drawn in.

    Args:
        rgb: columns are red, green, blue; else blue, green, red.
        maximum: the value of full intensity, 255 or 1.

    Returns:
        (96, 3) float64 array in [0, maximum]; neighbouring rows are easy to tell apart.

    Raises:
        DataError: if `maximum` is neither 255 nor 1.
    """
    if maximum not in (1, 255):
        raise DataError(f"maximum={maximum} is not a range of colours; use 255 or 1.")
    table = _table() * maximum
    return table if rgb else table[:, ::-1].copy()


def random_color(rgb: bool = False, maximum: int = 255) -> np.ndarray:
    """One row of `colormap`, drawn with Python's global generator.

    Args:
        rgb: red, green, blue; else blue, green, red.
        maximum: the value of full intensity, 255 or 1.

    Returns:
        (3,) float64 array in [0, maximum].
    """
    return random.choice(colormap(rgb, maximum))


def random_colors(N: int, rgb: bool = False, maximum: int = 255) -> list[np.ndarray]:  # noqa: N803 - public name
    """Rows of `colormap` in random order; none comes twice before all have come once.

    Args:
        N: how many.
        rgb: red, green, blue; else blue, green, red.
        maximum: the value of full intensity, 255 or 1.

    Returns:
        N arrays of shape (3,).
    """
    table = colormap(rgb, maximum)
    chosen: list[np.ndarray] = []
    while len(chosen) < N:
        chosen.extend(random.sample(list(table), min(len(table), N - len(chosen))))
    return chosen


def class_color(index: int) -> Color:
    """The colour of a class number, the same in every picture."""
    red, green, blue = _table()[index % _NUM_COLORS]
    return float(red), float(green), float(blue)


def shade(color: Color, step: int) -> Color:
    """A neighbour of a colour, so that touching objects of one class can be distinguished.

    Args:
        color: (r, g, b) in [0, 1].
        step: number of the object; 0 gives the colour itself.
    """
    hue, lightness, saturation = colorsys.rgb_to_hls(*color)
    # Steps 1, 2, 3 ... swing to both sides of the colour and come back after five.
    swing = (0.0, 0.11, -0.12, 0.05, -0.06)[step % 5]
    turn = (0.0, 0.02, -0.02)[step % 3]
    return colorsys.hls_to_rgb(
        (hue + turn) % 1.0, min(max(lightness + swing, 0.25), 0.85), saturation
    )


def change_brightness(color: Color, factor: float) -> Color:
    """A lighter or darker colour of the same hue.

    Args:
        color: (r, g, b) in [0, 1].
        factor: in [-1, 1]; the lightness changes by this share of itself.
    """
    hue, lightness, saturation = colorsys.rgb_to_hls(*color)
    return colorsys.hls_to_rgb(hue, min(max(lightness * (1 + factor), 0.0), 1.0), saturation)


def contrast_color(background: Color) -> Color:
    """Black or white, whichever is easier to read on the background."""
    red, green, blue = background
    # Rec. 709 luma of gamma-coded values; 0.5 is where both contrasts are about equal.
    return (0.0, 0.0, 0.0) if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.5 else (1.0,) * 3


def parse_color(color: ColorLike) -> Color:
    """Read a colour as people write it.

    Args:
        color: a name of CSS ("red", "skyblue") or matplotlib ("g", "tab:blue", "C0"), "#rrggbb",
            a grey level as text ("0.5"), or three (or four, alpha is left out) numbers in [0, 1].

    Raises:
        DataError: if it is none of these.
    """
    if isinstance(color, str):
        try:
            if re.fullmatch(r"[01]|[01]?\.\d+", color):
                return (min(float(color), 1.0),) * 3
            red, green, blue, *_ = ImageColor.getrgb(_NAMED.get(color, color))
            return red / 255, green / 255, blue / 255
        except ValueError as err:
            raise DataError(
                f"{color!r} is not a colour; use a name of CSS or matplotlib such as 'red' or "
                "'tab:blue', '#rrggbb', or three numbers in [0, 1]."
            ) from err
    values = tuple(float(v) for v in color)
    if len(values) not in (3, 4) or not all(0.0 <= v <= 1.0 for v in values):
        raise DataError(f"a colour is three numbers in [0, 1], not {values}; divide by 255?")
    return values[0], values[1], values[2]
