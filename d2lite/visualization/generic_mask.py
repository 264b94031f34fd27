"""GenericMask: a bitmap, polygons or a run-length code, seen as whichever of them is needed."""

from typing import Any

import numpy as np

from d2lite.structures.masks import rle
from d2lite.utils.errors import DataError

from .opencv import load_cv2


class GenericMask:
    """One object's mask in a picture of a given size."""

    def __init__(self, mask_or_polygons: Any, height: int, width: int) -> None:
        """Keep the given form; the others are computed when they are needed.

        Args:
            mask_or_polygons: (H, W) array of 0 and 1; list of polygons, each x0, y0, x1, y1 ...;
                or a COCO run-length code {"size": [h, w], "counts": bytes, str or list of int}.
            height: of the picture.
            width: of the picture.

        Raises:
            DataError: if the form is none of these or the size differs from the picture's.
        """
        self.height = height
        self.width = width
        self._mask: np.ndarray | None = None
        self._polygons: list[np.ndarray] | None = None
        self._has_holes: bool | None = None
        if isinstance(mask_or_polygons, dict):
            self._mask = self._decode(mask_or_polygons)
        elif isinstance(mask_or_polygons, list):
            self._polygons = [np.asarray(p, dtype=np.float64).reshape(-1) for p in mask_or_polygons]
            self._has_holes = False
        elif isinstance(mask_or_polygons, np.ndarray) and mask_or_polygons.ndim == 2:
            self._mask = mask_or_polygons.astype(np.uint8)
        else:
            raise DataError(
                f"a mask is an H x W array, a list of polygons or a run-length code, "
                f"not {type(mask_or_polygons).__name__}."
            )
        if self._mask is not None and self._mask.shape != (height, width):
            raise DataError(
                f"a mask of {self._mask.shape[0]} x {self._mask.shape[1]} pixels does not fit a "
                f"picture of {height} x {width}."
            )

    @staticmethod
    def _decode(code: dict[str, Any]) -> np.ndarray:
        if "counts" not in code or "size" not in code:
            raise DataError(f"a run-length code has 'counts' and 'size', not {sorted(code)}.")
        return rle.decode(code)

    @property
    def mask(self) -> np.ndarray:
        """(H, W) uint8 bitmap of 0 and 1."""
        if self._mask is None:
            assert self._polygons is not None
            self._mask = self.polygons_to_mask(self._polygons)
        return self._mask

    @property
    def polygons(self) -> list[np.ndarray]:
        """Outlines, each a float array x0, y0, x1, y1 ...; those of holes included."""
        if self._polygons is None:
            self._polygons, self._has_holes = self.mask_to_polygons(self.mask)
        return self._polygons

    @property
    def has_holes(self) -> bool:
        """Whether the bitmap has holes, which a list of polygons cannot say."""
        if self._has_holes is None:
            self._polygons, self._has_holes = self.mask_to_polygons(self.mask)
        return self._has_holes

    def mask_to_polygons(self, mask: np.ndarray) -> tuple[list[np.ndarray], bool]:
        """Trace the outlines of a bitmap.

        Args:
            mask: (H, W) of 0 and 1.

        Returns:
            The outlines through the centres of border pixels, and whether any is that of a hole.
        """
        cv2 = load_cv2()
        outlines, tree = cv2.findContours(
            np.ascontiguousarray(mask, dtype=np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
        )
        if tree is None:
            return [], False
        # Column 3 of the tree is the number of the outline around this one, -1 if none.
        has_holes = bool((tree.reshape(-1, 4)[:, 3] >= 0).any())
        # Fewer than three points do not span an area.
        polygons = [line.reshape(-1) + 0.5 for line in outlines if len(line) >= 3]
        return polygons, has_holes

    def polygons_to_mask(self, polygons: list[np.ndarray]) -> np.ndarray:
        """Fill polygons: (H, W) uint8 bitmap of 0 and 1."""
        usable = [np.asarray(p, dtype=np.float64).tolist() for p in polygons if len(p) >= 6]
        if not usable:
            return np.zeros((self.height, self.width), dtype=np.uint8)
        return rle.decode(rle.from_polygons(usable, self.height, self.width))

    def area(self) -> int:
        """How many pixels the mask has."""
        return int(self.mask.sum())

    def bbox(self) -> np.ndarray:
        """The tight box, (4,) float64 xyxy; zeros for an empty mask."""
        x, y, width, height = rle.box_xywh(rle.encode(self.mask))
        return np.array([x, y, x + width, y + height])
