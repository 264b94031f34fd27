"""Checks of datasets: objects, image files, and sets as a whole."""

from .annotations import (
    box_around,
    box_fault,
    mask_fault,
    polygon_is_sound,
    sound_object,
    sound_records,
)
from .image_files import ImageCheck, check_image, check_image_files, check_images, missing_images

__all__ = [
    "ImageCheck",
    "box_around",
    "box_fault",
    "check_image",
    "check_image_files",
    "check_images",
    "mask_fault",
    "missing_images",
    "polygon_is_sound",
    "sound_object",
    "sound_records",
]
