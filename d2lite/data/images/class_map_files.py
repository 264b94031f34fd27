"""Maps of classes in image files."""

import numpy as np

from .image_io import read_image


def read_class_map(file_name: str) -> np.ndarray:
    """Read a map of classes: (H, W) uint8 or int32, the class of each pixel."""
    labels = read_image(file_name)
    if labels.ndim == 3:
        labels = read_image(file_name, "L").squeeze(2)
    # DIFFERS: a palette's numbers are taken as they are, not the brightness of their colours,
    # and 16-bit labels keep all their bits.
    return labels.astype(np.uint8 if labels.dtype.itemsize == 1 else np.int32)
