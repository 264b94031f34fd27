"""Images of 16 bits or of fractions whose pixels the model would see as black or as white."""

import logging
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from typing import Any

import numpy as np

from d2lite.data.images.channels import is_channel_list
from d2lite.data.images.image_io import read_image
from d2lite.utils.errors import DataError, MissingFileError

logger = logging.getLogger(__name__)

# So many images are looked at before a training begins; `d2lite data check` reads all.
_NUM_SAMPLES = 10
# Of the 256 that eight bits have; images of 13 bits keep 32.
_FEWEST_LEVELS = 50
_REMEDY = (
    "Keep all bits: set INPUT.FORMAT to one letter a channel (S for a grey image), "
    "MODEL.PIXEL_MEAN and PIXEL_STD to the mean and deviation of the pixels. Or save the images "
    "with values from 0 to 255"
)


def grey_levels_fault(pixels: np.ndarray, file_name: str, image_format: str) -> str | None:
    """What is lost where an image is reduced to eight bits, in words.

    Args:
        pixels: of the file, as `read_image` gives them without a format.
        file_name: of the image.
        image_format: INPUT.FORMAT.

    Returns:
        None if nothing is lost, or enough levels of grey are left.
    """
    if pixels.dtype.itemsize == 1 or is_channel_list(image_format):
        return None
    if pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4):
        return None  # only a list of channels reads it as it is
    with np.errstate(invalid="ignore"):
        before = np.unique(pixels)
    after = np.unique(read_image(file_name, "RGB"))
    if len(after) >= min(_FEWEST_LEVELS, len(before)):
        return None
    return (
        f"has {pixels.dtype} values from {before[0]:g} to {before[-1]:g}, of which eight bits keep "
        f"{len(after)} levels of grey"
    )


def check_grey_levels(records: Iterable[dict[str, Any]], image_format: str) -> None:
    """The short check before a training: the first images.

    Raises:
        DataError: if most of the grey levels of all of them are lost.
    """
    if is_channel_list(image_format):
        return
    found = []
    for name in islice((str(r["file_name"]) for r in records), _NUM_SAMPLES):
        # One that is missing or broken costs its image, as in the loader.
        with suppress(DataError, MissingFileError):
            found.append((name, grey_levels_fault(read_image(name), name, image_format)))
    bad = [f"{name} {why}" for name, why in found if why is not None]
    if not bad:
        return
    text = f"{len(bad)} of the first {len(found)} images lose most of their grey levels: {bad[0]}"
    if len(bad) == len(found):
        raise DataError(f"{text}. {_REMEDY}.")
    logger.warning("%s. %s.", text, _REMEDY)
