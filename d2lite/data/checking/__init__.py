"""Checks of image files and of whole datasets."""

from d2lite.data.datasets.image_finder import missing_images
from d2lite.data.records.object_checks import (
    drop_invalid as sound_records,  # the name that scripts use
)

from .class_maps import check_class_maps
from .dataset import CheckedSet, check_dataset, cleaned_coco, compare_sets, fault_table
from .grey_levels import check_grey_levels
from .image_files import ImageCheck, check_image, check_image_files, check_images

__all__ = [
    "CheckedSet",
    "ImageCheck",
    "check_class_maps",
    "check_dataset",
    "check_grey_levels",
    "check_image",
    "check_image_files",
    "check_images",
    "cleaned_coco",
    "compare_sets",
    "fault_table",
    "missing_images",
    "sound_records",
]
