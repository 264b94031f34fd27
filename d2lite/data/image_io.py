"""The public address of what reads images."""

from .images.image_io import (
    SizeMismatchError,
    check_image_size,
    convert_image_to_rgb,
    convert_PIL_to_numpy,
    read_image,
    register_image_source,
)

__all__ = [
    "SizeMismatchError",
    "check_image_size",
    "convert_PIL_to_numpy",
    "convert_image_to_rgb",
    "read_image",
    "register_image_source",
]
