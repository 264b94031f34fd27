"""Checks of image files and of whole datasets."""

from .image_files import ImageCheck, check_image, check_image_files, check_images, missing_images

__all__ = [
    "ImageCheck",
    "check_image",
    "check_image_files",
    "check_images",
    "missing_images",
]
