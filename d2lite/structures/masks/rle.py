"""COCO's run-length codes: the one place where masks are encoded, decoded and measured.

A code is {"size": [H, W], "counts": ...}. Its counts are the lengths of alternating runs of 0 and
1, column by column, beginning with 0: a list of integers, or these compressed to bytes or text.
H x W pixels, N masks.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pycocotools.mask as coco_mask
from numpy.typing import NDArray

RLE = dict[str, Any]


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
        polygons: one or more.
        height: H of the mask.
        width: W of the mask.
    """
    code: RLE = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    return code


def compressed(code: RLE) -> RLE:
    """The same code with compressed counts; itself where they are compressed already.

    Raises:
        TypeError, ValueError, OverflowError: if the counts are not lengths of runs.
    """
    if not isinstance(code["counts"], list):
        return code
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
