"""What every kind of dataset string needs: a contract, paths, and sizes of images."""

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from PIL import Image, UnidentifiedImageError

from d2lite.data.channels import ORIENTATION_TAG, is_array_file, npy_size
from d2lite.data.datasets.location import datasets_root
from d2lite.data.faults import FaultLog
from d2lite.data.image_io import read_image
from d2lite.utils.errors import DataError, MissingFileError

logger = logging.getLogger(__name__)

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".npy")

Records = list[dict[str, Any]]


class Source(Protocol):
    """The files of one dataset, found but not yet read."""

    @property
    def evaluator_type(self) -> str:
        """How it is evaluated if all of it is used."""

    def metadata(self) -> dict[str, Any]:
        """Where the files are, under the keys that evaluators read."""

    def classes(self) -> list[str] | None:
        """Class names in the order of their numbers; None for images without annotations."""

    def category_ids(self) -> list[Any] | None:
        """The files' own id of each class, where evaluation writes them."""

    def load(self) -> Records:
        """Dataset dicts; category ids count `classes`."""


def find_path(
    path: str, *, beside: Path | None = None, suits: Callable[[Path], bool] | None = None
) -> Path:
    """Look for a path in the working folder, then under the root of the datasets.

    Args:
        path: as the dataset string has it; may begin with "~".
        beside: a third folder to look in.
        suits: whether what is at a place can be what is meant. A folder of the working folder
            that merely has the name of a dataset, such as an output folder, must not hide it.

    Returns:
        The first that exists and suits; where none suits, the first that exists. Absolute.

    Raises:
        MissingFileError: naming all places and the variable that sets the root.
    """
    found = find_paths(path, beside=beside)
    if suits is None or len(found) == 1:
        return found[0]
    chosen = next((place for place in found if suits(place)), found[0])
    if chosen is not found[0]:
        logger.info("%s is taken, since %s has not what is needed.", chosen, found[0])
    return chosen


def find_paths(path: str, *, beside: Path | None = None) -> list[Path]:
    """All places where `find_path` finds something, first to last; at least one."""
    places = [Path.cwd(), Path(datasets_root()), *([beside] if beside else [])]
    tried = list(dict.fromkeys(Path(os.path.abspath(p / Path(path).expanduser())) for p in places))
    found = [place for place in tried if place.exists()]
    if not found:
        raise no_such_path(path, tried)
    return found


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


def has_image(place: Path) -> bool:
    """Whether a place is an image, or a folder that has one somewhere below."""
    if place.is_file():
        return place.suffix.lower() in IMAGE_ENDINGS
    return any(p.suffix.lower() in IMAGE_ENDINGS for p in place.rglob("*"))


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of the image when it is upright, as `read_image` returns it.

    Only the file's head is read.

    Raises:
        MissingFileError: if there is no such file.
        DataError: if it is not an image.
    """
    try:
        if is_array_file(path.name):
            return npy_size(path)
        with Image.open(path) as image:
            turned = image.getexif().get(ORIENTATION_TAG, 1) >= 5
            return (image.width, image.height) if turned else (image.height, image.width)
    except FileNotFoundError as err:
        raise MissingFileError(f"There is no image file {path}.") from err
    except (OSError, SyntaxError, ValueError) as err:
        if isinstance(err, UnidentifiedImageError) and path.suffix.lower() in (".tif", ".tiff"):
            # Many bands: only the reader of pixels knows them.
            height, width = read_image(str(path)).shape[:2]
            return height, width
        raise DataError(
            f"{path} is not an image that can be read: {err}. Fetch it again or take it away."
        ) from err


def size_or_record_fault(path: Path, faults: FaultLog) -> tuple[int, int] | None:
    """(height, width) as `image_size` has it; None for an image that the book has taken down."""
    try:
        return image_size(path)
    except MissingFileError as err:
        faults.refuse("missing_image", str(path), err)
    except DataError as err:
        faults.refuse("unreadable_image", str(path), err)
    return None
