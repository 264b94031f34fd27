"""Faults of image files: not there, broken, of another size, turned."""

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from PIL import Image

from d2lite.data.datasets.image_finder import missing_images
from d2lite.data.images.channels import ORIENTATION_TAG
from d2lite.data.images.image_io import read_image
from d2lite.data.records.faults import FaultLog
from d2lite.utils.errors import DataError, MissingFileError

from .grey_levels import grey_levels_fault

logger = logging.getLogger(__name__)

Record = dict[str, Any]


@dataclass(frozen=True)
class ImageCheck:
    """What was found about an image.

    Attributes:
        fault: a key of `FAULTS`, or None.
        text: where and what it is.
        digest: of its pixels; None if they cannot be read.
    """

    fault: str | None
    text: str
    digest: str | None = None


def check_image(record: Record) -> ImageCheck:
    """Read one image of a dataset to its last pixel.

    Args:
        record: "file_name", and "height" and "width" where the dataset gives them.
    """
    name = str(record.get("file_name"))
    try:
        pixels = read_image(name)
    except MissingFileError:
        return ImageCheck("missing_image", name)
    except DataError as err:
        return ImageCheck("unreadable_image", str(err))
    height, width = pixels.shape[:2]
    sketch = f"{pixels.shape}{pixels.dtype}".encode()
    digest = hashlib.blake2b(sketch + pixels.tobytes(), digest_size=16).hexdigest()
    turn = _orientation(name)
    said = record.get("width", width), record.get("height", height)
    if said != (width, height):
        text = f"{name}: {width} x {height}, annotations made for {said[0]} x {said[1]}"
        is_turned = turn >= 5 and said == (height, width)
        return ImageCheck("exif_rotation" if is_turned else "size_differs", text, digest)
    lost = grey_levels_fault(pixels, name, "BGR")
    if lost is not None:
        return ImageCheck("few_levels", f"{name} {lost}", digest)
    return ImageCheck("exif_turned" if turn != 1 else None, f"{name} (EXIF {turn})", digest)


def _orientation(name: str) -> int:
    if not os.path.isfile(name):
        return 1
    try:
        with Image.open(name) as image:
            return int(image.getexif().get(ORIENTATION_TAG, 1))
    except (OSError, ValueError, TypeError, KeyError, SyntaxError):
        return 1  # a broken tag; reading ignores it too


def check_images(records: Iterable[Record], num_threads: int) -> Iterator[ImageCheck]:
    """`check_image` of each record, in their order.

    Args:
        records: dataset dicts.
        num_threads: images read at a time; decoding runs outside of Python's lock.
    """
    with ThreadPoolExecutor(max_workers=num_threads) as pool:
        yield from pool.map(check_image, records)


def check_image_files(records: list[Record], max_share: float) -> None:
    """The short check before a training: whether the image files are there.

    Raises:
        DataError: if more than a share of them is not.
    """
    missing = missing_images(records)
    if not missing:
        return
    faults = FaultLog()
    for name in missing:
        faults.add("missing_image", name)
    faults.log("Training images")
    faults.check_share(len(records) - len(missing), 0, max_share)
