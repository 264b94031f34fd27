"""The size of an image, from the head of its file, and the dataset dict that states it."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from d2lite.data.images.channels import ORIENTATION_TAG, is_array_file, npy_size
from d2lite.data.images.image_io import read_image
from d2lite.data.records.faults import FaultLog
from d2lite.utils.errors import DataError, MissingFileError
from d2lite.utils.file_heads import hint_on_file
from d2lite.utils.file_io import refuse_special_file

# The orientations of EXIF whose width is the height of the upright image.
_SIDEWAYS = range(5, 9)
# What Pillow raises of a broken head.
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, struct.error)


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of the image when it is upright, as `read_image` returns it.

    Only the file's head is read.

    Raises:
        MissingFileError: if there is no such file.
        DataError: if it is not an image.
    """
    try:
        refuse_special_file(path)
        if is_array_file(path.name):
            return npy_size(path)
        with Image.open(path) as image:
            width, height = image.size
            if isinstance(image, TiffImageFile):
                # Of a TIFF Pillow's size is upright in some versions and not in others.
                width, height = image.tag_v2[IMAGEWIDTH], image.tag_v2[IMAGELENGTH]
            turned = image.getexif().get(ORIENTATION_TAG, 1) in _SIDEWAYS
            return (width, height) if turned else (height, width)
    except FileNotFoundError as err:
        raise MissingFileError(f"There is no image file {path}.") from err
    except (*_BROKEN, Image.DecompressionBombError) as err:
        if isinstance(err, UnidentifiedImageError) and path.suffix.lower() in (".tif", ".tiff"):
            # Many bands: only the reader of pixels knows them.
            height, width = read_image(str(path)).shape[:2]
            return height, width
        raise DataError(
            f"{path} is not an image that can be read: {err}."
            + (hint_on_file(path) or " Fetch it again or take it away.")
        ) from err


def size_or_record_fault(path: Path, faults: FaultLog) -> tuple[int, int] | None:
    """(height, width) as `image_size` has it; None if it is a fault, which is recorded."""
    try:
        return image_size(path)
    except MissingFileError as err:
        faults.refuse("missing_image", str(path), err)
    except DataError as err:
        faults.refuse("unreadable_image", str(path), err)
    return None


def image_record(
    image: Path | str, image_id: int | str, size: Sequence[int], **truth: Any
) -> dict[str, Any]:
    """The dataset dict of an image of a size, (height, width), with more keys for its truth."""
    height, width = size
    return {
        "file_name": str(image),
        "image_id": image_id,
        "height": height,
        "width": width,
        **truth,
    }
