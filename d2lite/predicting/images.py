"""as_image: images of any kind that people have at hand, as the model takes them."""

import os
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from d2lite.data.images.channels import array_to_8_bits, is_channel_list
from d2lite.data.images.image_io import convert_PIL_to_numpy, read_image
from d2lite.utils.errors import DataError, InputTypeError


def as_image(value: Any, model_format: str, *, array_format: str = "BGR") -> np.ndarray:
    """One image in the channel order of the model.

    Args:
        value: a path or address; a Pillow image; an array (H, W), (H, W, 1), (H, W, 3) or
            (H, W, 4), of uint8, uint16 or float; or a tensor (C, H, W) in RGB, as
            torchvision reads it. Floats are in [0, 1] or in [0, 255]. Transparency is left out,
            and the EXIF orientation of files and Pillow images is followed.
        model_format: as in INPUT.FORMAT. For a list of channels ("RGBN"), arrays and tensors need
            as many channels.
        array_format: of arrays with three or four channels, "BGR" (as OpenCV reads) or "RGB".

    Returns:
        (H, W, C) uint8; of a list of channels uint8 or float32.

    Raises:
        InputTypeError: if it is not an image.
        DataError: if it has another shape, or a file cannot be read.
    """
    if isinstance(value, str | os.PathLike):
        return read_image(os.fspath(value), model_format)
    if isinstance(value, Image.Image):
        return convert_PIL_to_numpy(ImageOps.exif_transpose(value), model_format)
    if isinstance(value, torch.Tensor):
        array, array_format = _tensor_to_array(value), "RGB"
    elif isinstance(value, np.ndarray):
        array = value
    else:
        raise InputTypeError(
            f"An image is a path, an array, a Pillow image or a tensor, not {type(value).__name__}."
            + (" cv2.imread returns None for a file that it cannot read." if value is None else "")
        )
    if is_channel_list(model_format):
        return array[:, :, None] if array.ndim == 2 else array
    return convert_PIL_to_numpy(Image.fromarray(_plain_rgb(array, array_format)), model_format)


def _tensor_to_array(tensor: torch.Tensor) -> np.ndarray:
    if tensor.dim() == 4 and len(tensor) == 1:
        tensor = tensor[0]
    if tensor.dim() == 3:
        if tensor.shape[0] > 4 and tensor.shape[2] <= 4:
            raise DataError(
                f"A tensor of shape {tuple(tensor.shape)} looks like (height, width, channels); "
                "tensors are (channels, height, width). Use tensor.permute(2, 0, 1)."
            )
        tensor = tensor.permute(1, 2, 0)
    tensor = tensor.float() if tensor.dtype == torch.bfloat16 else tensor  # numpy has none
    return tensor.detach().cpu().numpy()


def _plain_rgb(array: np.ndarray, array_format: str) -> np.ndarray:
    """(H, W) grey or (H, W, 3) RGB, uint8."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    is_colour = array.ndim == 3 and array.shape[2] in (3, 4)
    if not (array.ndim == 2 or is_colour) or 0 in array.shape:
        raise DataError(
            f"An array of shape {array.shape} is not an image; expected (height, width), "
            "(height, width, 1), (height, width, 3) or (height, width, 4)."
        )
    if array.dtype.kind not in "buif":
        raise DataError(f"An image has real numbers, not {array.dtype}.")
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    elif array.dtype != np.uint8:
        array = _to_8_bits(array)
    if is_colour:
        array = array[:, :, :3] if array_format == "RGB" else array[:, :, 2::-1]
    return np.ascontiguousarray(array)


def _to_8_bits(array: np.ndarray) -> np.ndarray:
    if np.issubdtype(array.dtype, np.floating):
        top = array.max()
        if not np.isfinite(array).all() or array.min() < 0 or top > 255:
            raise DataError(
                "An image of floats must be within [0, 1] or [0, 255]; found values from "
                f"{array.min():g} to {top:g}. Pass pixels that are not normalised."
            )
        scaled = array * 255 if top <= 1 else array
        return scaled.round().astype(np.uint8)
    if array.dtype != np.uint16 and array.min() >= 0 and array.max() <= 255:
        return array.astype(np.uint8)
    shaped = array_to_8_bits(array if array.ndim == 3 else array[:, :, None])
    return shaped if array.ndim == 3 else shaped[:, :, 0]
