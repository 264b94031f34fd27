"""Where a resized, cropped or mirrored view of an image shows its points, and back."""

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from fvcore.transforms.transform import HFlipTransform, VFlipTransform
from torch import Tensor

from d2lite.utils.errors import ArgumentError

Size = tuple[int, int]
Array = TypeVar("Array", Tensor, np.ndarray)


@dataclass(frozen=True)
class ViewTransform:
    """Where a view shows the points of the original: scale * coordinate + shift, axis by axis.

    It has the methods of a data transform that concern geometry, for tensors and arrays.

    Attributes:
        scale: of x and y; negative where that axis is mirrored.
        shift: of x and y, in pixels of the view.
    """

    scale: tuple[float, float]
    shift: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def between(cls, original: Size, view: Size, *, is_mirrored: bool = False) -> "ViewTransform":
        """The transform of a resize, (height, width) to (height, width), and a horizontal flip."""
        x, y = view[1] / original[1], view[0] / original[0]
        return cls((-x, y), (float(view[1]), 0.0)) if is_mirrored else cls((x, y))

    @classmethod
    def of(cls, transform: Any, original: Size = (1000, 1000)) -> "ViewTransform":
        """The effect of any transform on coordinates, found by transforming five points.

        Args:
            transform: has `apply_coords`, (P, 2) float array -> the same; from the original to
                the view.
            original: (height, width) of the rectangle whose corners and centre are looked at.

        Raises:
            ArgumentError: if it is more than resizing, cropping and mirroring.
        """
        if isinstance(transform, cls):
            return transform
        size = np.array([original[1], original[0]], dtype=np.float64)
        points = size * np.array([[0, 0], [1, 1], [1, 0], [0, 1], [0.5, 0.5]])
        seen = transform.apply_coords(points.copy())
        scale, shift = (seen[1] - seen[0]) / size, seen[0]
        # A hundredth of a pixel: no turn is that small, and no float32 arithmetic that coarse.
        if not np.all(np.abs(points * scale + shift - seen) < 0.01) or not scale.all():
            raise ArgumentError(
                f"Test-time augmentation got the transform {transform!r}, which it cannot undo on "
                "masks. Let tta_mapper resize, crop and mirror, and nothing else."
            )
        return cls(tuple(scale.tolist()), tuple(shift.tolist()))

    @property
    def transforms(self) -> list[Any]:
        """Its steps, as a data transform lists them: upright, then the mirrorings.

        Code for detectron2 looks for an `HFlipTransform` there to turn maps back.
        """
        (x, y), (right, down) = self.scale, self.shift
        upright = ViewTransform((abs(x), abs(y)), (0.0 if x < 0 else right, 0.0 if y < 0 else down))
        mirrors = [HFlipTransform(right)] if x < 0 else []
        return [upright, *mirrors, *([VFlipTransform(down)] if y < 0 else [])]

    def apply_coords(self, coords: Array) -> Array:
        """(..., 2) points of the original, x and y -> points of the view."""
        if isinstance(coords, Tensor):
            return coords * coords.new_tensor(self.scale) + coords.new_tensor(self.shift)
        return coords * np.asarray(self.scale) + np.asarray(self.shift)

    def apply_box(self, boxes: Array) -> Array:
        """(R, 4) boxes of the original, xyxy -> boxes of the view."""
        corners = self.apply_coords(boxes.reshape(-1, 2, 2)).reshape(-1, 4)
        left, right = (2, 0) if self.scale[0] < 0 else (0, 2)
        top, bottom = (3, 1) if self.scale[1] < 0 else (1, 3)
        return corners[:, [left, top, right, bottom]]

    def inverse(self) -> "ViewTransform":
        """From the view to the original."""
        (x, y), (right, down) = self.scale, self.shift
        return ViewTransform((1 / x, 1 / y), (-right / x, -down / y))

    def unmirror(self, maps: Tensor) -> Tensor:
        """Mirror (..., rows, columns) maps of boxes of the view back to the original."""
        mirrored = [axis for axis, scale in ((-1, self.scale[0]), (-2, self.scale[1])) if scale < 0]
        return maps.flip(mirrored) if mirrored else maps
