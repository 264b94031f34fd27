"""Images of any number of channels: .npy arrays, TIFFs of many bands, and the names of channels.

A format that is not a colour space is a list of channels, one letter each: "RGBN", "NRG", "SSSSS".
Files hold red, green and blue first, in this order, and the others as the format lists them; a
format without all of R, G and B lists the channels as the files hold them.
"""

import io
import re
import struct
import tokenize
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ImageMode

from d2lite.utils.errors import ConfigError, DataError

# What Pillow converts to, and YUV; none of these is a list of channels.
_COLOUR_SPACES = {"1", "L", "P", "LA", "PA", "F", "I", "RGB", "RGBA", "CMYK", "HSV", "LAB"}
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# The same number in EXIF and in TIFF.
ORIENTATION_TAG = 0x0112


# What numpy raises for a damaged header, which is a text of Python.
_NPY_ERRORS = (ValueError, TypeError, EOFError, SyntaxError, OverflowError, tokenize.TokenError)


# tifffile's own errors are RuntimeErrors and ValueErrors.
_TIFF_ERRORS = (
    *(ValueError, IndexError, KeyError, TypeError, OSError, RuntimeError, MemoryError),
    *(OverflowError, AttributeError, ZeroDivisionError, struct.error, zlib.error),
)
# Of the pixels of one image; a damaged header may state any number.
_MOST_BYTES = 2**31


def is_channel_list(format: str | None) -> bool:
    """Whether INPUT.FORMAT names channels one by one; False for (misspelt) colour spaces."""
    if format is None or format in _COLOUR_SPACES or sorted(format) == sorted("RGB"):
        return False
    return re.fullmatch("[A-Z]+", format) is not None


def num_channels(format: str) -> int:
    """How many channels an image of INPUT.FORMAT has.

    Raises:
        ConfigError: if the format is unknown.
    """
    if format == "YUV-BT.601" or sorted(format) == sorted("RGB"):
        return 3
    if is_channel_list(format):
        return len(format)
    if format not in _COLOUR_SPACES:
        raise ConfigError(
            f"INPUT.FORMAT={format!r} is unknown. Use BGR, RGB, L, YUV-BT.601, "
            f"{', '.join(sorted(_COLOUR_SPACES - {'L', 'RGB'}))}, or one letter for each channel "
            "as in RGBN."
        )
    return len(ImageMode.getmode(format).bands)


def is_array_file(file_name: str) -> bool:
    """Whether a file is an array of numpy, by its name."""
    return file_name.lower().endswith(".npy")


def is_tiff(content: bytes) -> bool:
    """Whether a file's content begins as a TIFF."""
    return content.startswith(_TIFF_STARTS)


def read_npy(file_name: str, content: bytes) -> np.ndarray:
    """(H, W, C) array of a .npy file, which holds that or (H, W).

    Raises:
        DataError: if it holds something else, or is broken.
    """
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except (*_NPY_ERRORS, OSError, MemoryError) as err:
        raise DataError(
            f"{file_name} is not an array of numpy that can be read: {err}. Write it by numpy.save."
        ) from err
    if (
        not isinstance(array, np.ndarray)
        or array.ndim not in (2, 3)
        or 0 in array.shape
        or array.dtype.kind not in "uifb"
    ):
        found = f"shape {array.shape} and type {array.dtype}" if hasattr(array, "shape") else "more"
        raise DataError(
            f"{file_name} holds {found}; an image is (height, width, channels) or (height, width) "
            "of numbers. Save array.transpose(1, 2, 0) if the channels stand first."
        )
    return array if array.ndim == 3 else array[:, :, None]


def read_tiff(file_name: str, content: bytes) -> tuple[np.ndarray, int]:
    """All bands of a TIFF, with all their bits, and its orientation tag, 1 to 8.

    Returns:
        (H, W, C) array, and the tag. Bands may be samples of a pixel, planes or pages.

    Raises:
        DataError: if the file is broken, or tifffile is not installed.
    """
    try:
        import tifffile  # optional: extra [tiff]
    except ImportError as err:
        raise DataError(
            f"{file_name} is a TIFF of a kind that Pillow does not read whole: for images of many "
            "channels or more bits install tifffile (pip install tifffile), or save .npy files of "
            "(height, width, channels)."
        ) from err
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            series = file.series[0]
            if not 0 < series.nbytes <= _MOST_BYTES:
                raise ValueError(f"it states {series.nbytes} bytes of pixels")
            array, axes = series.asarray(), series.axes
            if array.size == 0:
                raise ValueError("its pixels are missing")
            page = file.pages[0]
            tag = page.tags.get(ORIENTATION_TAG) if isinstance(page, tifffile.TiffPage) else None
            turn = int(tag.value) if tag is not None else 1
    except _TIFF_ERRORS as err:
        raise DataError(f"Cannot decode the image {file_name}: {err}.") from err
    if array.ndim == 2:
        return array[:, :, None], turn
    if array.ndim != 3 or sorted(axes)[-2:] != ["X", "Y"]:
        raise DataError(
            f"{file_name} holds {array.shape} pixels along the axes {axes!r}; expected bands of "
            "one image, (height, width, channels)."
        )
    return (array if axes.startswith("YX") else array.transpose(1, 2, 0)), turn


def ordered_channels(pixels: np.ndarray, format: str, file_name: str) -> np.ndarray:
    """The channels in the order of a list.

    Args:
        pixels: (H, W, C) as the file holds them.
        format: C letters.
        file_name: for messages.

    Returns:
        (H, W, C) contiguous; uint8 stays, all else becomes float32 of the same numbers.

    Raises:
        DataError: if the file has another number of channels.
    """
    if pixels.shape[2] != len(format):
        raise DataError(
            f"The image {file_name} has {pixels.shape[2]} channels, and INPUT.FORMAT {format!r} "
            f"lists {len(format)}. Give INPUT.FORMAT one letter a channel, and MODEL.PIXEL_MEAN "
            "and MODEL.PIXEL_STD as many numbers."
        )
    if pixels.dtype != np.uint8:
        pixels = pixels.astype(np.float32)
    return np.ascontiguousarray(pixels[:, :, _places(format)])


def _places(format: str) -> list[int]:
    """The place in the file of each channel of a list."""
    if not set("RGB") <= set(format) or len(set(format)) < len(format):
        return list(range(len(format)))
    in_file = "RGB" + "".join(letter for letter in format if letter not in "RGB")
    return [in_file.index(letter) for letter in format]


def array_to_8_bits(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 1 or 3) uint8 of an array with any number of channels and bits.

    16-bit numbers give their upper eight bits, others are cut to 0 to 255; of more than three
    channels the first three are taken.
    """
    if pixels.dtype == np.uint16:
        pixels = pixels >> 8
    elif pixels.dtype == bool:
        pixels = pixels * np.uint8(255)
    if pixels.dtype.kind == "f":
        pixels = np.rint(np.nan_to_num(pixels))
    pixels = pixels.clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels[:, :, :3] if pixels.shape[2] >= 3 else pixels[:, :, :1])


def channels_as_rgb(pixels: np.ndarray, format: str) -> np.ndarray:
    """An image to draw on: the channels R, G and B of a list, else its first ones.

    Args:
        pixels: (H, W, C) in the order of the list. Numbers above 255 are scaled down together.
        format: C letters.

    Returns:
        (H, W, 3) uint8.
    """
    if set("RGB") <= set(format):
        shown = pixels[:, :, [format.index(letter) for letter in "RGB"]]
    else:
        shown = pixels[:, :, :3] if pixels.shape[2] >= 3 else pixels[:, :, [0, 0, 0]]
    if shown.dtype != np.uint8:
        top = float(shown.max(initial=0))
        shown = np.rint(shown * (255 / top) if top > 255 else shown).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(shown)


def npy_size(path: Path) -> tuple[int, int]:
    """(height, width) of a .npy file, of which only the head is read.

    Raises:
        ValueError: if it is not an array of two or three axes.
    """
    shape: Any = np.load(path, mmap_mode="r", allow_pickle=False).shape
    if len(shape) not in (2, 3):
        raise ValueError(f"an array of shape {shape}")
    return int(shape[0]), int(shape[1])
