"""Augmentations that move pixels: flip, resize, extent, rotation; and the choice to apply one."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from fvcore.transforms.transform import (
    HFlipTransform,
    NoOpTransform,
    Transform,
    VFlipTransform,
)
from PIL import Image
from torch._jit_internal import _drop

from d2lite.utils.errors import ConfigError

from .augmentation import Augmentation, _transform_to_aug
from .geometric import ExtentTransform, ResizeTransform
from .rotation import RotationTransform

_NEAREST = int(Image.Resampling.NEAREST)
_BILINEAR = int(Image.Resampling.BILINEAR)


def _check_sample_style(style: str) -> None:
    if style not in ("range", "choice"):
        raise ConfigError(f"The sample style is {style!r}; 'range' or 'choice' is expected.")


class RandomApply(Augmentation):
    """Apply an augmentation with some probability, else do nothing."""

    def __init__(self, tfm_or_aug: Augmentation | Transform, prob: float = 0.5) -> None:
        """Store both.

        Args:
            tfm_or_aug: what is applied.
            prob: probability, in [0, 1].
        """
        super().__init__()
        if not 0 <= prob <= 1:
            raise ConfigError(f"prob={prob} is not a probability; give a number from 0 to 1.")
        self.tfm_or_aug = tfm_or_aug
        self.aug = _transform_to_aug(tfm_or_aug)
        self.prob = prob

    def get_transform(self, *args: Any) -> Transform:
        """Draw; the arguments are those of the inner augmentation."""
        return self.aug.get_transform(*args) if self._is_on() else NoOpTransform()

    def __call__(self, aug_input: Any) -> Transform:
        """Draw, and if it falls so, apply the inner augmentation to `aug_input` in place."""
        return self.aug(aug_input) if self._is_on() else NoOpTransform()

    def _is_on(self) -> bool:
        return bool(self._rand_range() < self.prob)


class RandomFlip(Augmentation):
    """Flip left to right or top to bottom with some probability."""

    def __init__(
        self, prob: float = 0.5, *, horizontal: bool = True, vertical: bool = False
    ) -> None:
        """Store the direction.

        Args:
            prob: probability of a flip.
            horizontal: flip left to right.
            vertical: flip top to bottom.

        Raises:
            ConfigError: if not exactly one direction is asked for; use two flips for both.
        """
        super().__init__()
        if bool(horizontal) == bool(vertical):
            found = "both directions" if horizontal else "no direction"
            raise ConfigError(
                f"RandomFlip was given {found}; choose one of horizontal and vertical, "
                "and use two RandomFlips for both."
            )
        self.prob, self.horizontal, self.vertical = prob, horizontal, vertical

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw for a (H, W, ...) image."""
        h, w = image.shape[:2]
        if self._rand_range() >= self.prob:
            return NoOpTransform()
        return HFlipTransform(w) if self.horizontal else VFlipTransform(h)


class Resize(Augmentation):
    """Resize to one size."""

    def __init__(self, shape: int | tuple[int, int], interp: int = _BILINEAR) -> None:
        """Store the size.

        Args:
            shape: height and width, or one number for both.
            interp: a filter of `PIL.Image.Resampling`.
        """
        super().__init__()
        self.shape = (shape, shape) if isinstance(shape, int) else (shape[0], shape[1])
        self.interp = interp

    def get_transform(self, image: np.ndarray) -> Transform:
        """The resize of a (H, W, ...) image."""
        return ResizeTransform(image.shape[0], image.shape[1], *self.shape, self.interp)


class ResizeShortestEdge(Augmentation):
    """Resize so that the shorter side has a given length and the longer one stays in bounds."""

    # TorchScript reads the rest of the class for the sake of `get_output_shape`.
    @_drop
    def __init__(
        self,
        short_edge_length: int | Sequence[int],
        max_size: int = sys.maxsize,
        sample_style: str = "range",
        interp: int = _BILINEAR,
    ) -> None:
        """Store the lengths.

        Args:
            short_edge_length: with "range", the least and greatest length; with "choice", the
                lengths to choose from; one number stands for itself.
            max_size: greatest length of the longer side; it wins over the shorter one's length.
            sample_style: "range" or "choice".
            interp: a filter of `PIL.Image.Resampling`.

        Raises:
            ConfigError: for another style, a range that is not two numbers, or a negative length.
        """
        super().__init__()
        _check_sample_style(sample_style)
        if isinstance(short_edge_length, int):
            short_edge_length = (short_edge_length, short_edge_length)
        is_range = len(short_edge_length) == 2 and short_edge_length[0] <= short_edge_length[1]
        if sample_style == "range" and not is_range:
            raise ConfigError(
                "A range of short side lengths needs two ascending numbers, found "
                f"{short_edge_length} "
                "(INPUT.MIN_SIZE_TRAIN with MIN_SIZE_TRAIN_SAMPLING 'range')."
            )
        if len(short_edge_length) == 0:
            raise ConfigError(
                "There is no short side length to choose from (INPUT.MIN_SIZE_TRAIN)."
            )
        if min(short_edge_length) < 0 or (max(short_edge_length) > 0 and max_size < 1):
            raise ConfigError(
                f"A short side of {short_edge_length} pixels with a long side of {max_size} at "
                "most cannot be: lengths are above 0, or 0 for no resizing (INPUT.MIN_SIZE_TRAIN, "
                "INPUT.MAX_SIZE_TRAIN, and the same of TEST)."
            )
        self.short_edge_length, self.max_size = short_edge_length, max_size
        self.sample_style, self.interp = sample_style, interp
        self.is_range = sample_style == "range"

    @_drop
    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw a length for a (H, W, ...) image; a length of 0 leaves the image alone."""
        h, w = image.shape[:2]
        lengths = self.short_edge_length
        if self.is_range:
            length = int(np.random.randint(lengths[0], lengths[1] + 1))
        else:
            length = int(np.random.choice(lengths))
        if length == 0:
            return NoOpTransform()
        new_h, new_w = self.get_output_shape(h, w, length, self.max_size)
        return ResizeTransform(h, w, new_h, new_w, self.interp)

    @staticmethod
    def get_output_shape(
        oldh: int, oldw: int, short_edge_length: int, max_size: int
    ) -> tuple[int, int]:
        """Height and width after the resize.

        Args:
            oldh: height before.
            oldw: width before.
            short_edge_length: wanted length of the shorter side.
            max_size: greatest length of the longer side.
        """
        short, long = min(oldh, oldw), max(oldh, oldw)
        # In this order of operations the rounding is the reference's.
        new_short, new_long = float(short_edge_length), short_edge_length / short * long
        if new_long > max_size:
            shrink = max_size / max(new_short, new_long)
            new_short, new_long = new_short * shrink, new_long * shrink
        # DIFFERS: a 20,000 x 1 image keeps one pixel of width instead of none.
        sides = max(int(new_short + 0.5), 1), max(int(new_long + 0.5), 1)
        return sides if oldh < oldw else (sides[1], sides[0])


class ResizeScale(Augmentation):
    """Large-scale jitter: fit the image into a target size that is scaled by a random factor.

    Source: Ghiasi 2021, Simple Copy-Paste, section 3.
    """

    def __init__(
        self,
        min_scale: float,
        max_scale: float,
        target_height: int,
        target_width: int,
        interp: int = _BILINEAR,
    ) -> None:
        """Store the target.

        Args:
            min_scale: least factor.
            max_scale: greatest factor.
            target_height: pixels, at factor 1.
            target_width: pixels, at factor 1.
            interp: a filter of `PIL.Image.Resampling`.
        """
        super().__init__()
        self.min_scale, self.max_scale = min_scale, max_scale
        self.target_height, self.target_width = target_height, target_width
        self.interp = interp

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw a factor for a (H, W, ...) image; its aspect ratio is kept."""
        size = np.array(image.shape[:2])
        target = np.array([self.target_height, self.target_width])
        factor = np.random.uniform(self.min_scale, self.max_scale)
        scale = (target * factor / size).min()
        new_h, new_w = np.maximum(np.rint(size * scale), 1).astype(int).tolist()
        return ResizeTransform(image.shape[0], image.shape[1], new_h, new_w, self.interp)


class RandomResize(Augmentation):
    """Resize to one of several sizes."""

    def __init__(self, shape_list: Sequence[tuple[int, int]], interp: int = _BILINEAR) -> None:
        """Store the sizes.

        Args:
            shape_list: (height, width) pairs.
            interp: a filter of `PIL.Image.Resampling`.
        """
        super().__init__()
        self.shape_list, self.interp = shape_list, interp

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw a size for a (H, W, ...) image."""
        new_h, new_w = self.shape_list[np.random.randint(len(self.shape_list))]
        return ResizeTransform(image.shape[0], image.shape[1], new_h, new_w, self.interp)


class RandomRotation(Augmentation):
    """Turn the image counter-clockwise by a random angle around a random point."""

    def __init__(
        self,
        angle: float | Sequence[float],
        expand: bool = True,
        center: Sequence[Any] | None = None,
        sample_style: str = "range",
        interp: int | None = None,
    ) -> None:
        """Store the ranges.

        Args:
            angle: degrees; with "range" the least and greatest, with "choice" those to choose
                from; one number stands for itself.
            expand: make the output large enough for the whole turned image.
            center: (x, y) points as shares of width and height: with "range" the least and
                greatest, with "choice" those to choose from; None is the middle.
            sample_style: "range" or "choice".
            interp: an OpenCV interpolation flag; None means linear.

        Raises:
            ConfigError: for another style, or a range that is not two values.
        """
        super().__init__()
        _check_sample_style(sample_style)
        self.is_range = sample_style == "range"
        if isinstance(angle, (int, float)):
            angle = (angle, angle)
        if center is not None and isinstance(center[0], (int, float)):
            center = (center, center)
        for name, values in (("angle", angle), ("center", center)):
            if self.is_range and values is not None and len(values) != 2:
                raise ConfigError(f"A range of {name} needs two values, found {values}.")
        self.angle, self.expand, self.center = angle, expand, center
        self.sample_style, self.interp = sample_style, interp

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw for a (H, W, ...) image."""
        h, w = image.shape[:2]
        angle = float(self._draw(self.angle))
        center = None
        if self.center is not None:
            share_x, share_y = self._draw(self.center)
            center = (float(w * share_x), float(h * share_y))
        if angle % 360 == 0:
            return NoOpTransform()
        return RotationTransform(h, w, angle, self.expand, center, self.interp)

    def _draw(self, values: Sequence[Any]) -> Any:
        if self.is_range:
            return np.random.uniform(values[0], values[1])
        return values[np.random.randint(len(values))]


class RandomExtent(Augmentation):
    """Take a rectangle of random size and place around the image's middle."""

    def __init__(self, scale_range: tuple[float, float], shift_range: tuple[float, float]) -> None:
        """Store the ranges.

        Args:
            scale_range: least and greatest size of the rectangle, as a share of the image's.
            shift_range: by how much the middle may move in all along x and y, as shares of
                width and height: half of it to each side.
        """
        super().__init__()
        self.scale_range, self.shift_range = scale_range, shift_range

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw for a (H, W, ...) image; the output has the size of the rectangle."""
        shape = np.array([image.shape[1], image.shape[0]], dtype=np.float64)
        half = shape * np.random.uniform(*self.scale_range) / 2
        middle = shape * (0.5 + np.array(self.shift_range) * (np.random.rand(2) - 0.5))
        rectangle = (*(middle - half).tolist(), *(middle + half).tolist())
        width, height = np.maximum((2 * half).astype(int), 1).tolist()
        # DIFFERS: labels by their nearest pixels; the reference blends them.
        return ExtentTransform(rectangle, (height, width), seg_interp=_NEAREST)
