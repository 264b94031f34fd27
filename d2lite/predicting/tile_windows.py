"""tile_windows: where the tiles of a large image are."""

import itertools

from d2lite.utils.errors import ConfigError

Window = tuple[int, int, int, int]


def tile_windows(width: int, height: int, side: int, overlap: float) -> list[Window]:
    """Windows x0, y0, x1, y1 that cover an image, row by row.

    All are of one size; the last of a row and of a column are moved back into the image.

    Args:
        width: of the image.
        height: of the image.
        side: of a tile, in pixels; smaller where the image is.
        overlap: the least share of a tile that it has in common with the next one.

    Raises:
        ConfigError: if the side or the overlap is out of range.
    """
    if side < 32:
        raise ConfigError(f"--tiles {side}: the side of a tile must be 32 pixels or more.")
    if not 0.05 <= overlap <= 0.75:
        raise ConfigError(
            f"--overlap {overlap:g}: it must be from 0.05 to 0.75. Objects on the border of two "
            "tiles are joined by what both of them see."
        )
    rows, columns = (_starts(size, side, overlap) for size in (height, width))
    return [
        (x, y, min(x + side, width), min(y + side, height))
        for y, x in itertools.product(rows, columns)
    ]


def _starts(size: int, side: int, overlap: float) -> list[int]:
    if size <= side:
        return [0]
    step = max(1, int(side * (1 - overlap)))
    return [*range(0, size - side, step), size - side]
