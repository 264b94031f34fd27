"""PhotometricDistortion: brightness, contrast, saturation and hue, each drawn on its own."""

from collections.abc import Callable

import cv2
import numpy as np
from fvcore.transforms.transform import Transform

from .augmentation import Augmentation
from .color import ColorTransform


class PhotometricDistortion(Augmentation):
    """Distort the colours in four ways, each with probability one half; contrast first or last.

    The image may be RGB or BGR: exchanging red and blue mirrors hues, whose range is symmetric.
    SSD's exchange of whole channels is left out.

    Source: Liu 2016, SSD, section 2.2, after Howard 2013, arXiv:1312.5402.
    """

    def __init__(
        self,
        brightness: float = 32.0,
        contrast: tuple[float, float] = (0.5, 1.5),
        saturation: tuple[float, float] = (0.5, 1.5),
        hue: float = 18.0,
    ) -> None:
        """Store the ranges.

        Args:
            brightness: greatest grey level that is added or taken away, of 255.
            contrast: least and greatest factor of all values.
            saturation: least and greatest factor of the distance from grey.
            hue: greatest turn of the colour circle, degrees.

        Raises:
            ValueError: for a negative number, or a range that is none.
        """
        super().__init__()
        for name, (low, high) in {"contrast": contrast, "saturation": saturation}.items():
            if not 0 <= low <= high:
                raise ValueError(f"{name} is {(low, high)}; give least and greatest, 0 or more.")
        if brightness < 0 or hue < 0:
            raise ValueError(f"brightness {brightness} and hue {hue} must be 0 or more.")
        self.brightness, self.contrast = brightness, contrast
        self.saturation, self.hue = saturation, hue

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw the distortion for a (H, W, 3) image of values from 0 to 255."""
        if image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"PhotometricDistortion needs a colour image (H, W, 3), found {image.shape}."
            )
        # All are drawn, used or not, so that one range does not move the draws of the others.
        use = np.random.uniform(size=5) < 0.5
        shift = np.random.uniform(-self.brightness, self.brightness) if use[0] else 0.0
        factor = np.random.uniform(*self.contrast) if use[1] else 1.0
        saturation = np.random.uniform(*self.saturation) if use[2] else 1.0
        turn = np.random.uniform(-self.hue, self.hue) if use[3] else 0.0
        return ColorTransform(_distortion(shift, factor, saturation, turn, contrast_first=use[4]))


def _distortion(
    shift: float, factor: float, saturation: float, turn: float, *, contrast_first: bool
) -> Callable[[np.ndarray], np.ndarray]:
    """A function of an image that keeps its dtype."""

    def distort(image: np.ndarray) -> np.ndarray:
        pixels = image.astype(np.float32) + np.float32(shift)
        if contrast_first:
            pixels *= np.float32(factor)
        if saturation != 1 or turn != 0:
            hsv = cv2.cvtColor(pixels.clip(0, 255) / np.float32(255), cv2.COLOR_RGB2HSV)
            hsv[..., 0] = (hsv[..., 0] + np.float32(turn)) % 360
            hsv[..., 1] = (hsv[..., 1] * np.float32(saturation)).clip(0, 1)
            pixels = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * np.float32(255)
        if not contrast_first:
            pixels *= np.float32(factor)
        pixels = pixels.clip(0, 255)
        return (pixels.round() if image.dtype == np.uint8 else pixels).astype(image.dtype)

    return distort
