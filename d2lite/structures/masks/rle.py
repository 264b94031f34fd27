"""COCO's run-length codes: the one place where masks are encoded, decoded and measured.

A code is {"size": [H, W], "counts": ...}. Its counts are the lengths of alternating runs of 0 and
1, column by column, beginning with 0: a list of integers, or these compressed to bytes or text.
H x W pixels, N masks.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pycocotools.mask as coco_mask
from numpy.typing import NDArray

from d2lite.utils.errors import DataError

# pycocotools hands its masks to numpy as before numpy 2.0; under `python -W error` each would fail.
warnings.filterwarnings("ignore", "__array__ implementation doesn't", DeprecationWarning)

RLE = dict[str, Any]

# pycocotools allocates some 200 bytes for each pixel of an outline, and crashes if that overflows.
_MAX_OUTLINE = 1_000_000
# Beyond this, differences of coordinates have no fraction left.
_MAX_COORDINATE = 1e12
# Pixels that stay around a mask when a polygon is clipped to it.
_MARGIN = 4
# What compressed counts consist of; the sixth bit says that the number continues.
_CHARACTERS = bytes(range(48, 112))


def encode(mask: NDArray[Any]) -> RLE:
    """Encode one mask.

    Args:
        mask: (H, W) of 0 and 1, of any dtype.

    Returns:
        The code, its counts compressed to bytes.
    """
    code: RLE = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return code


def encode_all(masks: NDArray[Any]) -> list[RLE]:
    """Encode N masks.

    Args:
        masks: (N, H, W) of 0 and 1, of any dtype.

    Returns:
        N codes that JSON can hold: their counts are compressed to text.
    """
    bits = np.asarray(masks, dtype=np.uint8)
    # pycocotools wants (H, W, N) in column-major order, which is this view of a copy.
    columns_first = np.ascontiguousarray(bits.transpose(0, 2, 1)).transpose(2, 1, 0)
    return [with_text(code) for code in coco_mask.encode(columns_first)]


def from_polygons(polygons: Sequence[Sequence[float]], height: int, width: int) -> RLE:
    """Draw the union of polygons x0, y0, x1, y1, ... of three corners or more, by COCO's rule.

    Args:
        polygons: one or more; those that `can_draw` refuses are clipped to the mask first, and
            lose corners if they have too many even then.
        height: H of the mask.
        width: W of the mask.

    Raises:
        DataError: for coordinates that are not finite, or 1e12 and more.
    """
    outlines = [p if can_draw(p) else _clipped(p, height, width) for p in polygons]
    outlines = [outline for outline in outlines if len(outline)]
    if not outlines:
        return compressed({"size": [height, width], "counts": [height * width]})
    code: RLE = coco_mask.merge(coco_mask.frPyObjects(outlines, height, width))
    return code


def can_draw(polygon: Sequence[float]) -> bool:
    """Whether a polygon may go to compiled code as it is.

    Args:
        polygon: x0, y0, x1, y1, ... of three corners or more.

    Returns:
        True if all numbers are finite, none is beyond a million, and the outline is not longer than
        a million pixels.
    """
    reach = max(max(polygon), -min(polygon), 1)
    # NaN passes every comparison of max and min, but not a sum.
    if not math.isfinite(sum(polygon)) or reach > _MAX_OUTLINE:
        return False
    # No side is longer than twice the reach.
    return len(polygon) * reach <= _MAX_OUTLINE or _outline_length(polygon) <= _MAX_OUTLINE


def _outline_length(polygon: Sequence[float] | NDArray[Any]) -> float:
    points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
    return float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())


def _clipped(polygon: Sequence[float], height: int, width: int) -> list[float]:
    """The part of a polygon in and near a mask; [] if there is none."""
    points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
    if not (np.abs(points) < _MAX_COORDINATE).all():
        raise DataError(
            "A polygon has coordinates that are not finite or beyond 1e12. "
            "`d2lite data check` lists such objects."
        )
    for axis, size in ((0, width), (1, height)):
        for bound, sign in ((-float(_MARGIN), -1), (float(size + _MARGIN), 1)):
            points = _cut(points, axis, bound, sign)
    if len(points) and _outline_length(points) > _MAX_OUTLINE:
        # No side is longer than the mask, so that so many corners always fit.
        longest = max(height, width) + 2 * _MARGIN
        points = points[:: min(-(-len(points) * longest // _MAX_OUTLINE), len(points) // 3)]
    flat: list[float] = points.reshape(-1).tolist()
    return flat


def _cut(points: NDArray[Any], axis: int, bound: float, sign: int) -> NDArray[Any]:
    """The part of a polygon on one side of a line (Sutherland and Hodgman, 1974)."""
    following = np.roll(points, -1, axis=0)
    is_inside = sign * (points[:, axis] - bound) <= 0
    crosses = is_inside != np.roll(is_inside, -1)
    step = following - points
    share = np.divide(
        bound - points[:, axis], step[:, axis], out=np.zeros(len(points)), where=crosses
    )
    crossings = points + share[:, None] * step
    crossings[:, axis] = bound
    both = np.stack([points, crossings], axis=1).reshape(-1, 2)
    kept: NDArray[Any] = both[np.stack([is_inside, crosses], axis=1).reshape(-1)]
    return kept


def compressed(code: RLE) -> RLE:
    """The same code with compressed counts; itself where they are compressed already.

    Raises:
        TypeError, ValueError, OverflowError: if the counts are not lengths of runs.
    """
    counts = code["counts"]
    if not isinstance(counts, list | np.ndarray):
        raw = counts.encode("ascii") if isinstance(counts, str) else counts
        # pycocotools reads on after the end of a number that is cut off.
        if not raw or raw.translate(None, _CHARACTERS) or (raw[-1] - 48) & 32:
            raise ValueError("The counts of a mask are not compressed lengths of runs.")
        return code
    runs = list(counts)
    if runs and not (min(runs) >= 0 and max(runs) < 2**32):
        # numpy 1, and numpy 2 where they come as an array, would take them modulo 2**32.
        raise ValueError("The counts of a mask are not lengths of runs.")
    code = {"size": code["size"], "counts": runs}
    packed: RLE = coco_mask.frPyObjects(code, *code["size"])
    return packed


def with_text(code: RLE) -> RLE:
    """The same code, compressed, with counts as text, so that JSON can hold it."""
    code = compressed(code)
    counts = code["counts"]
    text = counts.decode("ascii") if isinstance(counts, bytes) else counts
    return {"size": list(code["size"]), "counts": text}


def decode(code: RLE) -> NDArray[np.uint8]:
    """(H, W) bitmap of 0 and 1."""
    mask: NDArray[np.uint8] = coco_mask.decode(compressed(code))
    return mask


def area(code: RLE) -> float:
    """How many pixels the mask has."""
    return float(coco_mask.area(compressed(code)))


def box_xywh(code: RLE) -> list[float]:
    """The tight box around the mask in pixels; zeros for an empty mask."""
    box: list[float] = coco_mask.toBbox(compressed(code)).tolist()
    return box
