"""Reading images of every kind into arrays: decoding, EXIF orientation, channel orders.

Arrays are (H, W, C) with the channels that the wanted format names; "L" gives (H, W, 1).
"""

import io
import os
import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from d2lite.utils.errors import ConfigError, DataError, MissingFileError, UserError
from d2lite.utils.file_heads import hint_on_content
from d2lite.utils.file_io import PathManager

from . import channels

# EXIF's number of an orientation -> what has to be done to see the image upright.
_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[:, ::-1].swapaxes(0, 1),
}
# The formats that are an RGB image put differently.
_RGB_FORMATS = ("RGB", "BGR", "YUV-BT.601")
# ITU-R BT.601: rows give Y, U and V from red, green and blue in [0, 1].
_YUV_FROM_RGB = np.array(
    [[0.299, 0.587, 0.114], [-0.14713, -0.28886, 0.436], [0.615, -0.51499, -0.10001]]
)
_RGB_FROM_YUV = np.array([[1.0, 0.0, 1.13983], [1.0, -0.39465, -0.58060], [1.0, 2.03211, 0.0]])

# What Pillow's many decoders raise when a file is not what it says it is.
DECODING_ERRORS = (
    EOFError,
    IndexError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)

_BROKEN_IMAGE = " It is broken, cut off or no image; fetch it again or take it out of the dataset."

# Of the largest image file that is read: Pillow refuses more than 179 million pixels.
_MAX_FILE_BYTES = 2**31

_sources: dict[str, Callable[[str], np.ndarray]] = {}


class SizeMismatchError(DataError):
    """An image has another size than its annotations were made for."""


def register_image_source(scheme: str, reader: Callable[[str], np.ndarray]) -> None:
    """Let `read_image` get images named `SCHEME://...` from a function.

    Args:
        scheme: the part before `://`.
        reader: takes the full name and returns a (H, W, 3) uint8 RGB array.
    """
    _sources[scheme] = reader


def read_image(file_name: str, format: str | None = None) -> np.ndarray:
    """Read an image upright, as its EXIF tag says.

    Grey, palette, transparent, 16-bit (its upper eight bits) and CMYK images are converted to
    the wanted format.

    Args:
        file_name: a path, an address that PathManager knows, or `SCHEME://...` of a registered
            source.
        format: "RGB", "BGR", "L", "YUV-BT.601" (float), another mode of Pillow ("RGBA",
            "CMYK", ...), or a list of channels ("RGBN"), see `channels`; None leaves the
            file's own mode.

    Returns:
        (H, W, C) uint8, or float64 for YUV; of a list of channels uint8 or float32, with all
        bits of the file; with format None also (H, W) and other dtypes.

    Raises:
        MissingFileError: if there is no such file.
        DataError: if the file holds no whole image.
        ConfigError: if the format is unknown.
    """
    file_name = str(file_name)
    scheme, separator, _ = file_name.partition("://")
    if separator and scheme in _sources:
        rgb = _sources[scheme](file_name)
        return rgb if format is None else convert_PIL_to_numpy(Image.fromarray(rgb), format)
    return decode_image(file_name, _read_bytes(file_name), format)


def decode_image(file_name: str, content: bytes, format: str | None = None) -> np.ndarray:
    """The image that a file holds, as `read_image` returns it.

    Args:
        file_name: for messages; its ending shows .npy files.
        content: of the file.
        format: as in `read_image`.

    Raises:
        DataError: if the file holds no whole image.
        ConfigError: if the format is unknown.
    """
    image, orientation = _decode(file_name, content, format)
    if format is not None and channels.is_channel_list(format):
        raw = image if isinstance(image, np.ndarray) else _own_channels(image)
        pixels = channels.ordered_channels(raw, format, file_name)
    elif isinstance(image, np.ndarray):
        pixels = _converted_array(image, format)
    else:
        pixels = convert_PIL_to_numpy(image, format)
    turn = _UPRIGHT.get(orientation)
    return pixels if turn is None else np.ascontiguousarray(turn(pixels))


def _own_channels(image: Image.Image) -> np.ndarray:
    """(H, W, C) of an image in its own mode; a palette by its colours."""
    if image.mode in ("P", "PA", "1"):
        has_alpha = image.mode == "PA" or "transparency" in image.info
        image = image.convert("L" if image.mode == "1" else "RGBA" if has_alpha else "RGB")
    pixels = np.asarray(image)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _converted_array(pixels: np.ndarray, format: str | None) -> np.ndarray:
    """What `read_image` returns of an image that came as an array."""
    if format is None:
        return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    simple = channels.array_to_8_bits(pixels)
    if simple.shape[2] == 1:
        simple = simple[:, :, 0]
    return convert_PIL_to_numpy(Image.fromarray(simple), format)


def _decode(
    file_name: str, content: bytes, format: str | None
) -> tuple[Image.Image | np.ndarray, int]:
    """The decoded image, of Pillow or (H, W, C), and its EXIF orientation.

    Pillow decodes a COCO photograph in 2.8 ms, as OpenCV does. torchvision's decoder, which is
    to be removed, is no faster, and OpenCV takes an image that is cut off for a whole one.
    """
    if channels.is_array_file(file_name):
        return channels.read_npy(file_name, content), 1
    if channels.is_tiff(content) and channels.is_channel_list(format):
        # Pillow silently leaves out what is more than three bands of eight bits.
        return channels.read_tiff(file_name, content)
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.format == "EPS":
                raise OSError("PostScript is a program, which is not run to see its picture")
            # Before the tag is asked for: loading turns TIFFs itself and drops their tag.
            image.load()
            if image.format == "PNG" and image.mode == "I":
                # Old versions of Pillow give sixteen bits as 32.
                return image.convert("I;16"), _orientation(image)
            return image, _orientation(image)
    except Image.DecompressionBombError as err:
        raise DataError(
            f"The image {file_name} has more pixels than Pillow opens: {err}. If it is "
            "no mistake, raise PIL.Image.MAX_IMAGE_PIXELS or cut the image into tiles."
        ) from err
    except DECODING_ERRORS as err:
        if isinstance(err, UnidentifiedImageError) and channels.is_tiff(content):
            return channels.read_tiff(file_name, content)
        reason = str(err).splitlines()[0] if str(err) else type(err).__name__
        if isinstance(err, UnidentifiedImageError):
            reason = "it begins like no image format"  # Pillow names our buffer in memory here
        raise DataError(
            f"Cannot decode the image {file_name} ({len(content)} bytes): {reason}."
            + (hint_on_content(content) or _BROKEN_IMAGE)
        ) from err


def _read_bytes(file_name: str) -> bytes:
    try:
        with PathManager.open(file_name, "rb") as stream:
            size = stream.seek(0, os.SEEK_END) if stream.seekable() else 0
            if size > _MAX_FILE_BYTES:
                raise DataError(
                    f"The image file {file_name} has {size} bytes; at most {_MAX_FILE_BYTES} are "
                    "read. If it is an image, cut it into tiles."
                )
            if size:
                stream.seek(0)
            content: bytes = stream.read()
            return content
    except UserError:
        raise  # it says why an address cannot be fetched
    except FileNotFoundError as err:
        raise MissingFileError(
            f"There is no image file {file_name}. Check the dataset's image folder and the "
            "file names in its annotations."
        ) from err
    except (OSError, ValueError) as err:  # a name with a null character
        reason = getattr(err, "strerror", None) or err
        raise DataError(f"Cannot read the image file {file_name}: {reason}.") from err


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1 (upright) where there is none or it cannot be read."""
    try:
        return image.getexif().get(channels.ORIENTATION_TAG, 1)
    except (OSError, ValueError, TypeError, KeyError, SyntaxError, struct.error):
        # A broken tag is no reason to lose the image: cameras and editors write many.
        return 1


def _apply_exif_orientation(image: Image.Image) -> Image.Image:
    """The image upright, as its EXIF tag says; for mappers that open images themselves."""
    turned = ImageOps.exif_transpose(image) if _orientation(image) in _UPRIGHT else None
    return image if turned is None else turned


def _reversed_channels(pixels: np.ndarray) -> np.ndarray:
    # Channel by channel: 5 times as fast as making a reversed view contiguous.
    swapped = np.empty_like(pixels, order="C")
    for channel in range(pixels.shape[2]):
        swapped[..., channel] = pixels[..., -1 - channel]
    return swapped


def convert_PIL_to_numpy(  # noqa: N802 - the reference's name
    image: Image.Image, format: str | None
) -> np.ndarray:
    """Pixels of a Pillow image in the wanted format.

    Args:
        image: of any mode.
        format: as in `read_image`.

    Returns:
        (H, W, C) uint8 (float64 for YUV); with None whatever array Pillow makes of it.

    Raises:
        ConfigError: if Pillow cannot convert to that format.
    """
    if format is None:
        return np.array(image)
    image = _with_8_bits(image)
    mode = "RGB" if format in _RGB_FORMATS else format
    if mode != image.mode:
        try:
            if image.mode == "P" and "transparency" in image.info:
                image = image.convert("RGBA")
            image = image.convert(mode)
        except ValueError as err:
            raise ConfigError(
                f"Cannot convert an image of mode {image.mode} to {format!r} (INPUT.FORMAT): "
                f"{err}. Use BGR, RGB, L, YUV-BT.601, a mode of Pillow, or one letter for each "
                "channel as in RGBN."
            ) from err
    if format == "BGR":
        # Pillow swaps while it copies the pixels out; swapping in numpy costs a second pass.
        swapped = np.frombuffer(bytearray(image.tobytes("raw", "BGR")), dtype=np.uint8)
        return swapped.reshape(image.height, image.width, 3)
    pixels = np.array(image)
    if format == "YUV-BT.601":
        return pixels / 255.0 @ _YUV_FROM_RGB.T
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _with_8_bits(image: Image.Image) -> Image.Image:
    """A 16-bit grey image by its upper eight bits; others as they are."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        # Pillow's own conversion cuts every value above 255 off, which leaves white.
        values = np.asarray(image)
        if image.mode != "I" or values.max(initial=0) > 255:
            values = values.clip(0, 65535) >> 8
        return Image.fromarray(values.clip(0, 255).astype(np.uint8))
    return image


def convert_image_to_rgb(image: np.ndarray | torch.Tensor, format: str) -> np.ndarray:
    """Pixels of any format as RGB, to draw on or to show.

    Args:
        image: (H, W, C), in the format.
        format: as in `read_image`.

    Returns:
        (H, W, 3) uint8, 0 to 255.
    """
    pixels = image.detach().cpu().numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
    if channels.is_channel_list(format):
        return channels.channels_as_rgb(pixels, format)
    if format == "YUV-BT.601":
        return (pixels @ _RGB_FROM_YUV.T * 255.0).round().clip(0, 255).astype(np.uint8)
    if pixels.dtype != np.uint8:
        pixels = pixels.round().clip(0, 255).astype(np.uint8)
    if format == "BGR":
        return _reversed_channels(pixels)
    if format == "RGB":
        return pixels
    if format == "L":
        return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
    # The mode is not given to fromarray, which no longer takes one: bytes say it as well.
    size = (pixels.shape[1], pixels.shape[0])
    return np.asarray(Image.frombytes(format, size, pixels.tobytes()).convert("RGB"))


def check_image_size(dataset_dict: dict[str, Any], image: np.ndarray) -> None:
    """Compare an image's size with the one its dataset gives, and note the size if it gives none.

    Args:
        dataset_dict: `width` and `height` are read, and set where they are missing.
        image: (H, W, ...).

    Raises:
        SizeMismatchError: if they differ; the annotations then do not fit the pixels.
    """
    height, width = image.shape[:2]
    said = (dataset_dict.get("width", width), dataset_dict.get("height", height))
    if said != (width, height):
        raise SizeMismatchError(
            f"The image {_name_of(dataset_dict)} is {width} pixels wide and {height} high, but "
            f"its dataset says {said[0]} by {said[1]}. If the two are swapped, the file has an "
            "EXIF rotation that the annotations do not know: save it upright or without the tag."
        )
    dataset_dict.setdefault("width", width)
    dataset_dict.setdefault("height", height)


def _name_of(dataset_dict: Mapping[str, Any]) -> str:
    name = dataset_dict.get("file_name", "without a name")
    image_id = dataset_dict.get("image_id")
    return str(name) if image_id is None else f"{name} (image_id {image_id})"
