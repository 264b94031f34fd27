"""CroppedMask: the pixels of one object, kept for the part of the image around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2lite.structures.masks import rle
from d2lite.visualization import GenericMask
from d2lite.visualization.opencv import load_cv2

BoolArray = NDArray[np.bool_]
# Outlines are traced on pixels of a quarter of the size, and may leave the border by this much.
_FINER, _DETAIL = 4, 0.4


@dataclass(frozen=True)
class CroppedMask:
    """A mask in an image of any size, at the cost of its own box.

    Attributes:
        x: column of its first pixel in the image.
        y: row of its first pixel in the image.
        bits: (h, w) bool; an empty mask has none.
    """

    x: int
    y: int
    bits: BoolArray

    @classmethod
    def of(cls, mask: NDArray[Any]) -> CroppedMask:
        """Cut a mask to its box.

        Args:
            mask: (H, W) of the image's size.
        """
        rows = np.flatnonzero(mask.any(axis=1))
        if not len(rows):
            return cls(0, 0, np.zeros((0, 0), dtype=bool))
        inside = mask[rows[0] : rows[-1] + 1]
        columns = np.flatnonzero(inside.any(axis=0))
        bits = inside[:, columns[0] : columns[-1] + 1].astype(bool)
        return cls(int(columns[0]), int(rows[0]), np.ascontiguousarray(bits))

    @classmethod
    def from_rle(cls, code: rle.RLE) -> CroppedMask:
        """Read COCO's run-length code of a whole image."""
        return cls.of(rle.decode(code))

    @property
    def area(self) -> int:
        """How many pixels the mask has."""
        return int(self.bits.sum())

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1 of the stored part."""
        height, width = self.bits.shape
        return self.x, self.y, self.x + width, self.y + height

    def shifted(self, x: int, y: int) -> CroppedMask:
        """The mask moved by whole pixels to the right and downwards."""
        return CroppedMask(self.x + x, self.y + y, self.bits)

    def window(self, x0: int, y0: int, x1: int, y1: int) -> BoolArray:
        """(y1 - y0, x1 - x0) bool: what the mask has in a part of the image."""
        out = np.zeros((max(y1 - y0, 0), max(x1 - x0, 0)), dtype=bool)
        left, top, right, bottom = self.box
        a, b, c, d = max(x0, left), max(y0, top), min(x1, right), min(y1, bottom)
        if a < c and b < d:
            part = self.bits[b - top : d - top, a - left : c - left]
            out[b - y0 : d - y0, a - x0 : c - x0] = part
        return out

    def full(self, height: int, width: int) -> BoolArray:
        """(height, width) bool: the mask in an image of this size."""
        return self.window(0, 0, width, height)

    def outlines(self) -> list[list[float]]:
        """Polygons x0, y0, x1, y1, ... along the border of each part; holes are filled.

        They are within half a pixel of the border, and have few points, to be corrected by hand.
        """
        cv2 = load_cv2()
        # OpenCV's outlines pass through the centres of pixels: smaller ones are nearer the border.
        fine = np.pad(self.bits, 1).repeat(_FINER, axis=0).repeat(_FINER, axis=1).view(np.uint8)
        lines, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        outlines = []
        for line in lines:
            points = cv2.approxPolyDP(line, _DETAIL * _FINER, True).reshape(-1, 2)
            if len(points) >= 3:
                shift = np.array([self.x - 1, self.y - 1])
                outlines.append(((points + 0.5) / _FINER + shift).reshape(-1).tolist())
        return outlines

    def united(self, other: CroppedMask) -> CroppedMask:
        """The pixels of both masks."""
        if not self.bits.size or not other.bits.size:
            return self if self.bits.size else other
        x0, y0, x1, y1 = self.box
        a, b, c, d = other.box
        around = min(x0, a), min(y0, b), max(x1, c), max(y1, d)
        return CroppedMask(*around[:2], self.window(*around) | other.window(*around))

    def scaled(self, by_x: float, by_y: float, height: int, width: int) -> CroppedMask:
        """The mask in an image of another size; each pixel takes the value nearest to its centre.

        Args:
            by_x: the other image's width divided by this one's.
            by_y: likewise for the height.
            height: of the other image.
            width: of the other image.
        """
        left, top, right, bottom = self.box
        x0, x1 = max(int(left * by_x), 0), min(int(np.ceil(right * by_x)), width)
        y0, y1 = max(int(top * by_y), 0), min(int(np.ceil(bottom * by_y)), height)
        columns = np.floor((np.arange(x0, x1) + 0.5) / by_x).astype(int) - left
        rows = np.floor((np.arange(y0, y1) + 0.5) / by_y).astype(int) - top
        inside_x = (columns >= 0) & (columns < right - left)
        inside_y = (rows >= 0) & (rows < bottom - top)
        bits = np.zeros((len(rows), len(columns)), dtype=bool)
        bits[np.ix_(inside_y, inside_x)] = self.bits[np.ix_(rows[inside_y], columns[inside_x])]
        return CroppedMask(x0, y0, bits)

    def to_rle(self, height: int, width: int) -> rle.RLE:
        """COCO's run-length code in an image of this size, with counts as text.

        Only the pixels of the object are looked at.
        """
        # Runs go down the columns: an empty row above and below ends each run in its column.
        edges = np.diff(np.pad(self.bits, ((1, 1), (0, 0))).astype(np.int8), axis=0)
        columns, starts = np.nonzero(edges.T == 1)
        ends = np.nonzero(edges.T == -1)[1]
        first = (columns + self.x) * height + self.y
        bounds = np.stack([first + starts, first + ends], axis=1).reshape(-1)
        counts = np.diff(np.concatenate([[0], bounds, [height * width]])).astype(int)
        # A run that ends at the bottom goes on at the top of the next column: drop the 0 between.
        inner = np.flatnonzero(counts[1:-1] == 0) + 1
        merged = counts.tolist()
        for place in inner[::-1].tolist():
            merged[place - 1 : place + 2] = [merged[place - 1] + merged[place + 1]]
        if len(merged) > 1 and merged[-1] == 0:
            merged.pop()
        return rle.with_text({"size": [height, width], "counts": merged})


class LazyMask(GenericMask):
    """A mask for the visualizer that exists in full size only while it is drawn."""

    def __init__(self, cropped: CroppedMask, height: int, width: int) -> None:
        super().__init__([], height, width)
        self._cropped = cropped
        self._polygons = None

    @property
    def mask(self) -> np.ndarray:
        """(H, W) uint8 bitmap of 0 and 1."""
        return self._cropped.full(self.height, self.width).view(np.uint8)
