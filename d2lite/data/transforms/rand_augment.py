"""RandAugment: a few operations of a fixed list, all of one strength.

Source: Cubuk 2019, arXiv:1909.13719.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from fvcore.transforms.transform import BlendTransform, Transform, TransformList

from .affine import AffineTransform, affine_matrix
from .augmentation import Augmentation
from .color import ColorTransform

# The strength that counts as 1; the paper's scale.
_FULL = 30.0
_SHEAR, _ANGLE, _SHIFT = 17.0, 30.0, 0.2


class RandAugment(Augmentation):
    """Apply `num_ops` operations, drawn from a list, with the strength `magnitude`."""

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: float = 9.0,
        ops: Sequence[str] | None = None,
        fill: float = 114.0,
    ) -> None:
        """Store the strength.

        Args:
            num_ops: operations for each image; one may come twice.
            magnitude: from 0, which leaves the image nearly alone, to 30.
            ops: names of `RandAugment.names()` to draw from; None: all.
            fill: grey level of what comes in from outside.

        Raises:
            ValueError: for an unknown operation or a strength out of range.
        """
        super().__init__()
        if not 0 <= magnitude <= _FULL or num_ops < 0:
            raise ValueError(
                f"magnitude={magnitude}, num_ops={num_ops}: the magnitude goes from 0 to "
                f"{_FULL:g}, num_ops from 0."
            )
        unknown = sorted(set(ops or ()) - set(self.names()))
        if unknown or (ops is not None and not len(ops)):
            raise ValueError(
                f"Unknown operations {', '.join(unknown)}; known are {', '.join(self.names())}."
                if unknown
                else "ops is empty; leave it out to draw from all operations."
            )
        self.num_ops, self.magnitude, self.ops, self.fill = num_ops, magnitude, ops, fill

    @staticmethod
    def names() -> list[str]:
        """The operations there are."""
        return [*_BLENDED, *_PIXELWISE, *_MOVING]

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw for a (H, W) or (H, W, C) image with values from 0 to 255."""
        names = self.names() if self.ops is None else list(self.ops)
        strength = self.magnitude / _FULL
        steps = []
        for _ in range(self.num_ops):
            name = names[np.random.randint(len(names))]
            signed = strength if np.random.uniform() < 0.5 else -strength
            steps.append(self._make(name, signed, image))
        return TransformList(steps)

    def _make(self, name: str, signed: float, image: np.ndarray) -> Transform:
        h, w = image.shape[:2]
        if name in _MOVING:
            return AffineTransform(_MOVING[name](signed, h, w), h, w, self.fill)
        return ColorTransform(_Pixels(name, signed))


class _Pixels:
    """An operation on values, as an object: it can be pickled and keeps the image's dtype."""

    def __init__(self, name: str, signed: float) -> None:
        self.name, self.signed = name, signed

    def __call__(self, image: np.ndarray) -> np.ndarray:
        if self.name in _PIXELWISE:
            return _PIXELWISE[self.name](image, abs(self.signed))
        plain = _BLENDED[self.name](image)
        # At strength 1 nothing of the image is left, or it is twice as far from the plain one.
        weight = 1 + 0.9 * self.signed
        blended = BlendTransform(plain, 1 - weight, weight).apply_image(image)
        return blended.astype(image.dtype)


def _smooth(image: np.ndarray) -> np.ndarray:
    return cv2.blur(image, (3, 3)).reshape(image.shape)


def _grey(image: np.ndarray) -> np.ndarray:
    return image.mean(axis=2, keepdims=True) if image.ndim == 3 else image


def _stretch(image: np.ndarray, strength: float) -> np.ndarray:
    """Each channel's least and greatest value to 0 and 255, by `strength` of the way or more."""
    low, high = image.min(axis=(0, 1)), image.max(axis=(0, 1))
    span = np.maximum(high.astype(np.float64) - low, 1e-6)
    full = np.where(high > low, (image.astype(np.float64) - low) * (255 / span), image)
    return full.clip(0, 255).astype(image.dtype)


def _equalise(image: np.ndarray, strength: float) -> np.ndarray:
    """Spread each channel's values so that all come up alike."""
    planes = image.reshape(*image.shape[:2], -1)
    if image.dtype != np.uint8:
        return image
    made = [cv2.equalizeHist(np.ascontiguousarray(planes[:, :, i])) for i in range(planes.shape[2])]
    return np.stack(made, axis=2).reshape(image.shape)


def _solarise(image: np.ndarray, strength: float) -> np.ndarray:
    """Turn the brightest values over."""
    limit = 255 * (1 - strength)
    return np.where(image > limit, 255 - image, image).astype(image.dtype)


def _posterise(image: np.ndarray, strength: float) -> np.ndarray:
    """Keep fewer levels: 4 bits of 8 at full strength."""
    step = 2.0 ** np.rint(4 * strength)
    return (np.floor(image / step) * step).astype(image.dtype)


_BLENDED: dict[str, Callable[[np.ndarray], np.ndarray | float]] = {
    "brightness": lambda image: 0.0,
    "contrast": lambda image: float(image.mean()),
    "saturation": _grey,
    "sharpness": _smooth,
}

_PIXELWISE: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "autocontrast": _stretch,
    "equalize": _equalise,
    "posterize": _posterise,
    "solarize": _solarise,
}

_MOVING: dict[str, Callable[[float, int, int], np.ndarray]] = {
    "rotate": lambda s, h, w: affine_matrix(h, w, angle=s * _ANGLE),
    "shear_x": lambda s, h, w: affine_matrix(h, w, shear=(s * _SHEAR, 0)),
    "shear_y": lambda s, h, w: affine_matrix(h, w, shear=(0, s * _SHEAR)),
    "translate_x": lambda s, h, w: affine_matrix(h, w, shift=(s * _SHIFT * w, 0)),
    "translate_y": lambda s, h, w: affine_matrix(h, w, shift=(0, s * _SHIFT * h)),
}
