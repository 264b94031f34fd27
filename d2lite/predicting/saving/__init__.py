"""FACE: writing results in the formats of --save-as."""

from .formats import FORMATS, OF_FRAMES, OutputWriter, parse_formats
from .image_files import save_crops
from .one_file import write_coco_results

__all__ = [
    "FORMATS",
    "OF_FRAMES",
    "OutputWriter",
    "parse_formats",
    "save_crops",
    "write_coco_results",
]
