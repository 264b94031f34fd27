"""What every kind of dataset string needs: a contract, and paths."""

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from d2lite.data.datasets.image_finder import is_leftover
from d2lite.data.datasets.location import barred, datasets_root
from d2lite.utils.errors import MissingFileError

from .archives import unpacked

logger = logging.getLogger(__name__)

# Of more, none is looked into: these are images of a folder each, not what is around a dataset.
_MAX_FOLDERS = 100

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
        The first that exists and suits, else the only folder below one that does: archives often
        have a folder around everything. Where none suits, the first that exists. Absolute. Of a
        zip archive, the folder that it is unpacked into.

    Raises:
        MissingFileError: naming all places and the variable that sets the root.
    """
    found = find_paths(path, beside=beside)
    if suits is None:
        return found[0]
    chosen = next((place for place in found if suits(place)), None)
    chosen = chosen or next(filter(None, (_below(place, suits) for place in found)), found[0])
    if chosen is not found[0]:
        logger.info("%s is taken, since %s has not what is needed.", chosen, found[0])
    return chosen


def _below(place: Path, suits: Callable[[Path], bool]) -> Path | None:
    """The only folder below that suits, on the first of three levels that has one."""
    folders = [place]
    for _ in range(3):
        inside = (child for folder in folders if folder.is_dir() for child in folder.iterdir())
        folders = sorted(child for child in inside if child.is_dir() and not is_leftover(child))
        if len(folders) > _MAX_FOLDERS:
            return None
        if fitting := [folder for folder in folders if suits(folder)]:
            return fitting[0] if len(fitting) == 1 else None
    return None


def find_paths(path: str, *, beside: Path | None = None) -> list[Path]:
    """All places where `find_path` finds something, first to last; at least one.

    Of a zip archive it is the folder that it is unpacked into.
    """
    if "://" in path:
        raise MissingFileError(
            f"{path} is an address, and the files of this kind of dataset are looked for on this "
            "machine. Copy them, or write coco:ADDRESS.json@ADDRESS_OF_IMAGES."
        )
    tried = _places(path, beside)
    found = [place for place in tried if os.path.exists(place)]
    if not found:
        raise no_such_path(path, tried)
    return [unpacked(p) if p.suffix.lower() == ".zip" and p.is_file() else p for p in found]


def _places(path: str, beside: Path | None) -> list[Path]:
    places = [Path.cwd(), Path(datasets_root()), *([beside] if beside else [])]
    given = os.path.expanduser(path)
    return list(dict.fromkeys(Path(os.path.abspath(place / given)) for place in places))


def is_there(path: str) -> bool:
    """Whether `find_path` finds something."""
    return any(map(os.path.exists, _places(path, None)))


def no_such_path(what: str, tried: Iterable[Path]) -> MissingFileError:
    """The error for something that is at none of several places."""
    tried = list(tried)
    if closed := next(filter(None, map(barred, tried)), None):
        return closed
    root = os.path.abspath(datasets_root())
    return MissingFileError(
        f"{what} does not exist; looked for {', '.join(map(str, tried))}. Relative paths are "
        f"looked for in the working folder and then under the folder that $D2LITE_DATASETS or "
        f"$DETECTRON2_DATASETS names, else ./datasets (now {root})."
    )
