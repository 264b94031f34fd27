"""Checks of image files and of whole datasets."""

from ..object_checks import drop_invalid as sound_records  # the name that scripts use
from .image_files import ImageCheck, check_image, check_image_files, check_images, missing_images

__all__ = [
    "ImageCheck",
    "check_image",
    "check_image_files",
    "check_images",
    "missing_images",
    "sound_records",
]
