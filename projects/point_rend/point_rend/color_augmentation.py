"""ColorAugSSDTransform: the colour distortion of SSD, which draws whenever it is applied."""

import numpy as np

from d2lite.data import transforms as T
from d2lite.utils.errors import ConfigError


class ColorAugSSDTransform(T.Transform):
    """Distort brightness, contrast, saturation and hue of images; nothing moves.

    `PhotometricDistortion` does the work; see there for how each is drawn.

    Args:
        img_format: "BGR" or "RGB"; hues are turned both ways alike, so that it makes no difference.
        brightness_delta: greatest grey level that is added or taken away, of 255.
        contrast_low: least factor of all values.
        contrast_high: greatest factor.
        saturation_low: least factor of the distance from grey.
        saturation_high: greatest factor.
        hue_delta: greatest turn of the colour circle in OpenCV's units of two degrees.

    Raises:
        ConfigError: for another format.

    Source: Liu 2016, SSD, section 2.2.
    """

    def __init__(
        self,
        img_format: str,
        brightness_delta: float = 32,
        contrast_low: float = 0.5,
        contrast_high: float = 1.5,
        saturation_low: float = 0.5,
        saturation_high: float = 1.5,
        hue_delta: float = 18,
    ) -> None:
        super().__init__()
        if img_format not in ("BGR", "RGB"):
            raise ConfigError(f"img_format is {img_format!r}; use BGR or RGB (INPUT.FORMAT).")
        self.distortion = T.PhotometricDistortion(
            brightness_delta,
            (contrast_low, contrast_high),
            (saturation_low, saturation_high),
            2 * hue_delta,
        )

    def apply_image(self, img: np.ndarray, interp: str | None = None) -> np.ndarray:
        """Draw a distortion and apply it to a (H, W, 3) image."""
        return self.distortion.get_transform(img).apply_image(img)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Coordinates stay."""
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Labels stay."""
        return segmentation

    def inverse(self) -> T.Transform:
        """Nothing moved, so nothing moves back."""
        return T.NoOpTransform()
