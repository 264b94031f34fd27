"""Conversion of datasets from one format into another."""

from .coco_writer import coco_content, coco_object
from .convert import convert, write_set
from .image_copies import IMAGE_MODES
from .labelled_set import LabelledSet, load_labelled_set, merge, select, split
from .writers import WRITERS

__all__ = [
    "IMAGE_MODES",
    "WRITERS",
    "LabelledSet",
    "coco_content",
    "coco_object",
    "convert",
    "load_labelled_set",
    "merge",
    "select",
    "split",
    "write_set",
]
