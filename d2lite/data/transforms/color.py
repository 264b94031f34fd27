"""Transforms and augmentations of colour; nothing moves."""

from collections.abc import Callable
from typing import Any

import numpy as np
from fvcore.transforms.transform import BlendTransform, NoOpTransform, Transform
from PIL import Image

from d2lite.utils.errors import ConfigError, DataError

from .augmentation import Augmentation

# Share of red, green and blue in the brightness that an eye sees (ITU-R BT.601).
_LUMA = np.array([0.299, 0.587, 0.114])

# Principal directions of RGB values over ImageNet, one a column, and the spread along each.
# Source: Krizhevsky 2012 (AlexNet), section 4.1; the numbers are those of the Torch trainings.
_PRINCIPAL_AXES = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)
_PRINCIPAL_SPREAD = np.array([0.2175, 0.0188, 0.0045])


class ColorTransform(Transform):
    """Apply any function of pixel values that keeps the image's size."""

    def __init__(self, op: Callable[[np.ndarray], np.ndarray]) -> None:
        """Store the function.

        Args:
            op: takes the image array and returns one of the same height and width.

        Raises:
            ConfigError: if it cannot be called.
        """
        if not callable(op):
            raise ConfigError(f"op must be a function of an image, found {op!r}.")
        super().__init__()
        self.op = op

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Change the colours of a (H, W, C) image."""
        return self.op(img)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Coordinates stay."""
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Labels stay."""
        return segmentation

    def inverse(self) -> Transform:
        """Nothing moved, so nothing moves back."""
        return NoOpTransform()


class PILColorTransform(ColorTransform):
    """The same for a function that takes and returns a `PIL.Image`."""

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Change the colours of a uint8 (H, W, 3) or (H, W) image."""
        image: Any = Image.fromarray(np.ascontiguousarray(img))
        return np.asarray(self.op(image))


class _RandomBlend(Augmentation):
    """Blend the image with something plain by a weight drawn from a range."""

    def __init__(self, intensity_min: float, intensity_max: float) -> None:
        """Store the range.

        Args:
            intensity_min: least weight of the image itself; 1 leaves it as it is, less weakens
                the property, more strengthens it.
            intensity_max: greatest weight.
        """
        super().__init__()
        self.intensity_min = intensity_min
        self.intensity_max = intensity_max

    def _blend_with(self, plain: float | np.ndarray) -> Transform:
        weight = np.random.uniform(self.intensity_min, self.intensity_max)
        return BlendTransform(src_image=plain, src_weight=1 - weight, dst_weight=weight)


class RandomContrast(_RandomBlend):
    """Blend with the image's mean grey level: 0 gives an even grey, above 1 harder contrast."""

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw the weight."""
        return self._blend_with(image.mean())


class RandomBrightness(_RandomBlend):
    """Blend with black: 0 gives black, above 1 a brighter image."""

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw the weight."""
        return self._blend_with(0)


class RandomSaturation(_RandomBlend):
    """Blend with the grey version: 0 gives grey, above 1 stronger colours.

    The image is taken as RGB. With BGR images red and blue change places in what counts as
    bright, which does little harm.
    """

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw the weight for a (H, W, 3) image."""
        if image.ndim != 3 or image.shape[2] != 3:
            raise DataError(
                f"RandomSaturation works on colour images of shape (H, W, 3), found {image.shape}."
            )
        return self._blend_with((image @ _LUMA)[:, :, None])


class RandomLighting(Augmentation):
    """Shift all pixels along the principal directions of natural colour (AlexNet's noise).

    The image is taken as RGB.
    """

    def __init__(self, scale: float) -> None:
        """Store the strength.

        Args:
            scale: standard deviation of the draws, in units of the image's range over [0, 1].
                The paper's 0.1 is 25.5 for images in [0, 255].
        """
        super().__init__()
        self.scale = scale

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw the shift for a (H, W, 3) image."""
        if image.shape[-1] != 3:
            raise DataError(
                f"RandomLighting works on colour images of shape (H, W, 3), found {image.shape}."
            )
        strength = np.random.normal(scale=self.scale, size=3)
        shift = _PRINCIPAL_AXES @ (strength * _PRINCIPAL_SPREAD)
        return BlendTransform(src_image=shift, src_weight=1.0, dst_weight=1.0)
