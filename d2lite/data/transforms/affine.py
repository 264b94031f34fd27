"""AffineTransform and RandomAffine: turn, shift, scale and shear in one step.

Coordinates are continuous, (x, y) in pixels: pixel i spans [i, i + 1).
"""

from collections.abc import Sequence

import cv2
import numpy as np
from fvcore.transforms.transform import Transform

from .augmentation import Augmentation
from .geometric import refuse_other_size
from .rotation import warp_affine


class AffineTransform(Transform):
    """Move every point by one matrix; the image keeps its size or gets a given one."""

    # What comes in from outside has no label; see `labels.transform_labels`.
    shows_outside = True

    def __init__(
        self,
        matrix: np.ndarray,
        h: int,
        w: int,
        fill: float = 114.0,
        output_size: tuple[int, int] | None = None,
    ) -> None:
        """Store the matrix.

        Args:
            matrix: (2, 3) float; takes (x, y, 1) to its new place.
            h: image height before, pixels.
            w: image width before.
            fill: grey level of what comes in from outside.
            output_size: height and width after; None keeps them.
        """
        super().__init__()
        self.matrix = np.asarray(matrix, dtype=np.float64)
        self.h, self.w, self.fill = h, w, fill
        self.output_size = (h, w) if output_size is None else tuple(output_size)

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Move the pixels of a (h, w) or (h, w, C) image, interpolated linearly."""
        return self._warp(img, cv2.INTER_LINEAR, self.fill)

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Move a map of labels by its nearest pixels; 0 comes in from outside."""
        return self._warp(segmentation, cv2.INTER_NEAREST, 0)

    def _warp(self, img: np.ndarray, method: int, fill: float) -> np.ndarray:
        refuse_other_size(self, img)
        # OpenCV counts from the middle of the first pixel, half a pixel from its corner.
        height, width = self.output_size
        indices = self.matrix.copy()
        indices[:, 2] += self.matrix[:, :2].sum(axis=1) / 2 - 0.5
        return warp_affine(img, indices, (width, height), method, fill)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Move (N, 2) coordinates; returns a new float array."""
        return np.asarray(coords, dtype=float) @ self.matrix[:, :2].T + self.matrix[:, 2]

    @property
    def is_mirroring(self) -> bool:
        """Whether left and right change places."""
        return bool(np.linalg.det(self.matrix[:, :2]) < 0)


class RandomAffine(Augmentation):
    """Turn, scale, shear and shift around the image's middle; the image keeps its size."""

    def __init__(
        self,
        angle: float | Sequence[float] = 10.0,
        translate: float | Sequence[float] = 0.1,
        scale: Sequence[float] = (0.8, 1.2),
        shear: float | Sequence[float] = 2.0,
        fill: float = 114.0,
    ) -> None:
        """Store the ranges.

        Args:
            angle: least and greatest turn, degrees counter-clockwise; one number a is (-a, a).
            translate: least and greatest shift along both axes, as shares of width and height;
                one number likewise.
            scale: least and greatest factor, above 0.
            shear: least and greatest slant along both axes, degrees within (-90, 90); one number
                likewise.
            fill: grey level of what comes in from outside.

        Raises:
            ValueError: for a range that runs backwards or leaves its bounds.
        """
        super().__init__()
        self.angle, self.translate = _both_ways("angle", angle), _both_ways("translate", translate)
        self.shear = _both_ways("shear", shear)
        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale is {tuple(scale)}; give least and greatest, above 0.")
        if max(map(abs, self.shear)) >= 90:
            raise ValueError(f"shear is {self.shear}; it must stay between -90 and 90 degrees.")
        self.scale, self.fill = (scale[0], scale[1]), fill

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw for a (H, W, ...) image."""
        h, w = image.shape[:2]
        angle = np.random.uniform(*self.angle)
        scale = np.random.uniform(*self.scale)
        shear = np.random.uniform(*self.shear, size=2)
        shift = np.random.uniform(*self.translate, size=2) * (w, h)
        return AffineTransform(affine_matrix(h, w, angle, scale, shear, shift), h, w, self.fill)


def affine_matrix(
    h: int,
    w: int,
    angle: float = 0.0,
    scale: float = 1.0,
    shear: Sequence[float] | np.ndarray = (0.0, 0.0),
    shift: Sequence[float] | np.ndarray = (0.0, 0.0),
) -> np.ndarray:
    """(2, 3) matrix that shears, scales and turns around an image's middle, then shifts.

    Args:
        h: image height, pixels.
        w: image width.
        angle: degrees, counter-clockwise.
        scale: factor.
        shear: slant along x and along y, degrees.
        shift: along x and y, pixels.
    """
    turn = np.deg2rad(angle)
    # y points down, so a counter-clockwise turn has the minus sign below the diagonal.
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    slant_x, slant_y = np.tan(np.deg2rad(shear))
    # Along y first, then along x: their product keeps areas, so no shear turns the image over.
    slant = np.array([[1.0, slant_x], [0.0, 1.0]]) @ np.array([[1.0, 0.0], [slant_y, 1.0]])
    linear = scale * rotation @ slant
    middle = np.array([w, h]) / 2
    return np.column_stack([linear, middle - linear @ middle + shift])


def _both_ways(name: str, value: float | Sequence[float]) -> tuple[float, float]:
    low, high = (-value, value) if isinstance(value, (int, float)) else value
    if low > high:
        raise ValueError(f"{name} is {value}; give least and greatest, or one number of 0 or more.")
    return float(low), float(high)
