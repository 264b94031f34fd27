"""What every kind of dataset string needs: a contract, paths, and sizes of images."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from d2lite.data.datasets.missing import datasets_root
from d2lite.data.faults import FaultBook
from d2lite.utils.errors import DataError, MissingFileError

__all__ = [
    "IMAGE_ENDINGS",
    "Source",
    "find_path",
    "image_size",
    "images_below",
    "no_such_path",
    "noted_size",
]

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")

_EXIF_ORIENTATION = 0x0112

Records = list[dict[str, Any]]


class Source(Protocol):
    """The files behind one dataset, found but not yet read.

    Attributes:
        evaluator_type: how it is evaluated if all of it is used.
    """

    evaluator_type: str

    def metadata(self) -> dict[str, Any]:
        """Where the files are, under the keys that evaluators read."""

    def classes(self) -> list[str] | None:
        """Class names in the order of their numbers; None for images without annotations."""

    def category_ids(self) -> list[Any] | None:
        """The files' own id of each class, where evaluation writes them."""

    def load(self) -> Records:
        """Dataset dicts; category ids count `classes`."""


def find_path(path: str, *, beside: Path | None = None) -> Path:
    """Look for a path in the working folder, then under the root of the datasets.

    Args:
        path: as the dataset string has it; may begin with "~".
        beside: a third folder to look in.

    Returns:
        The first that exists, absolute.

    Raises:
        MissingFileError: naming all places and the variable that sets the root.
    """
    places = [Path.cwd(), Path(datasets_root()), *([beside] if beside else [])]
    tried = list(dict.fromkeys(Path(os.path.abspath(p / Path(path).expanduser())) for p in places))
    for place in tried:
        if place.exists():
            return place
    raise no_such_path(path, tried)


def no_such_path(what: str, tried: Iterable[Path]) -> MissingFileError:
    """The error for something that is at none of several places."""
    root = os.path.abspath(datasets_root())
    return MissingFileError(
        f"{what} does not exist; looked for {', '.join(map(str, tried))}. Relative paths are "
        f"looked for in the working folder and then under the folder that $D2LITE_DATASETS or "
        f"$DETECTRON2_DATASETS names, else ./datasets (now {root})."
    )


def images_below(folder: Path) -> list[Path]:
    """All image files of a folder and its subfolders, in order of their paths."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_ENDINGS and p.is_file())


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of the image when it is upright, as `read_image` returns it.

    Only the file's head is read.

    Raises:
        MissingFileError: if there is no such file.
        DataError: if it is no image.
    """
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(_EXIF_ORIENTATION, 1) >= 5
            return (image.width, image.height) if turned else (image.height, image.width)
    except FileNotFoundError as err:
        raise MissingFileError(f"There is no image file {path}.") from err
    except (OSError, SyntaxError, ValueError) as err:
        raise DataError(
            f"{path} is no image that can be read: {err}. Fetch it again or take it away."
        ) from err


def noted_size(path: Path, book: FaultBook) -> tuple[int, int] | None:
    """(height, width) as `image_size` has it; None for an image that the book has taken down."""
    try:
        return image_size(path)
    except MissingFileError as err:
        book.refuse("missing_image", str(path), err)
    except DataError as err:
        book.refuse("unreadable_image", str(path), err)
    return None
