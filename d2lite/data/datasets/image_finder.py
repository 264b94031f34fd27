"""ImageFinder: the image file that a label file means, under the names that tools write."""

import errno
import logging
import os
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path, PureWindowsPath
from typing import Any
from urllib.parse import unquote

from d2lite.utils.download import split_address
from d2lite.utils.errors import DataError
from d2lite.utils.logger import log_first_n

from .location import may_enter

IMAGE_ENDINGS = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".npy"),
    *(".jfif", ".jpe", ".gif", ".ppm", ".pgm", ".mpo", ".jp2", ".avif"),
)
"""Of the files that are read as images; the more frequent first."""

# Of cameras and drawing programs, which Pillow does not read.
_UNREAD_ENDINGS = (".heic", ".heif", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".jxl", ".svg")

_ENDING = re.compile(r"\.[A-Za-z]{2,5}\d?")

# Files that macOS, Windows and Jupyter leave in folders.
_LEFTOVER = re.compile(r"(\._.*|\.DS_Store|Thumbs\.db|desktop\.ini)$", re.IGNORECASE)
_LEFTOVER_FOLDERS = {"__MACOSX", ".ipynb_checkpoints"}
# Before a number without its zeros, where images are looked up; no name of a file has it.
_NUMBER = "\0"
# Label Studio puts eight hexadecimal digits before the name of a file, in its storage or exports.
_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}(-|__)(?=.)")


def without_upload_prefix(name: str) -> str:
    """The name of a file as it was before it was uploaded to Label Studio."""
    return _UPLOAD_PREFIX.sub("", name)


def is_leftover(path: Path) -> bool:
    """Whether a file is one that systems add, and not data."""
    return bool(_LEFTOVER.match(path.name)) or not _LEFTOVER_FOLDERS.isdisjoint(path.parts)


def files_below(folder: Path) -> Iterator[Path]:
    """All files of a folder and its subfolders, also of those that links lead to, each once.

    A folder that this user may not list is named in a warning.
    """
    seen = set()
    for home, folders, names in os.walk(folder, onerror=_warn, followlinks=True):
        facts = os.stat(home)
        if (facts.st_dev, facts.st_ino) in seen:  # a link to a folder above would never end
            folders.clear()
            continue
        seen.add((facts.st_dev, facts.st_ino))
        if not may_enter(home):  # its names alone may be read
            _warn(PermissionError(errno.EACCES, os.strerror(errno.EACCES), home))
            folders.clear()
            continue
        folders.sort()
        yield from (Path(home, name) for name in names)


def _warn(error: OSError) -> None:
    if isinstance(error, FileNotFoundError):
        return  # nothing is in a folder that is not there
    text = f"{error.filename} is left out, for it cannot be listed: {error.strerror}"
    log_first_n(logging.WARNING, text, key="message")


def images_below(folder: Path) -> list[Path]:
    """All image files of a folder and its subfolders, in order of their paths.

    Links to files that are not there count: whoever opens one says that it is missing.
    """
    found = (p for p in files_below(folder) if _is_image_name(p))
    return sorted(p for p in found if p.is_file() or p.is_symlink())


def unread_images(files: Iterable[Path]) -> str:
    """What to say of photographs in formats that are not read; "" where there are none.

    Args:
        files: among which they may be.
    """
    found = Counter(path.suffix.lower() for path in files if not is_leftover(path))
    listed = [f"{found[ending]} {ending}" for ending in _UNREAD_ENDINGS if ending in found]
    return f"Not read are {', '.join(listed)}: convert them to JPEG." if listed else ""


def has_image(place: Path) -> bool:
    """Whether a place is an image, or a folder that has one somewhere below."""
    if place.is_file():
        return place.suffix.lower() in IMAGE_ENDINGS
    return any(map(_is_image_name, files_below(place)))


def refuse_other_encoding(name: str) -> None:
    """Refuse the name of an image that this process cannot hand to the system.

    Raises:
        DataError: if its locale has names of files without the name's letters.
    """
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        encoding = sys.getfilesystemencoding()
        if encoding != "utf-8":  # in that, the name itself is none
            raise DataError(
                f"The image {name} cannot be opened: by the locale of this process names of files "
                f"are {encoding}. Set PYTHONUTF8=1 in its environment."
            ) from None


def has_image_ending(name: str) -> bool:
    """Whether a text ends as the names of images do."""
    return name.lower().endswith(IMAGE_ENDINGS)


def _is_image_name(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_ENDINGS and not is_leftover(path)


def missing_images(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """The names of local image files that are not there; no image is opened.

    Each folder is listed once, which for COCO takes a fraction of asking for every file.
    """
    listings: dict[str, set[str]] = {}
    missing = []
    for record in records:
        name = str(record.get("file_name", ""))
        if not name or "://" in name:
            continue
        folder, file = os.path.split(name)
        if folder not in listings:
            try:
                listings[folder] = set(os.listdir(folder or "."))
            except OSError:
                listings[folder] = set()
        # A file system may tell other cases or spellings apart less strictly than a list does.
        if file not in listings[folder] and not os.path.exists(name):
            missing.append(name)
    return missing


class ImageFinder:
    """Finds images by the names in label files.

    A name may be a path of another machine, have backslashes, another case, another ending or
    none, another number of zeros in front, or lack the folder that the image is in. The exact path
    comes first; then, among all images below the folders, the one whose path ends like the name,
    or that is in the nearest folder itself; an ambiguous name finds none.
    """

    def __init__(self, folders: Iterable[Path], *, is_deep: bool = True) -> None:
        """Take the folders to look in.

        Args:
            folders: nearest first; those that do not exist are passed over.
            is_deep: whether images of other names than stated may be in folders below these.
        """
        self._files = files_below if is_deep else Path.iterdir
        self.folders = [folder for folder in dict.fromkeys(folders) if folder.is_dir()]

    def find(self, name: str) -> Path | None:
        """The image file of a name; None if there is none, or several fit equally.

        Raises:
            DataError: if the locale of this process has no such names.
        """
        refuse_other_encoding(name)
        wanted = PureWindowsPath(split_address(name).path if "://" in name else name)
        for relative in dict.fromkeys((wanted.as_posix(), wanted.name)):
            for folder in self.folders:
                path = folder / relative.lstrip("/")
                if relative and path.suffix.lower() in IMAGE_ENDINGS and os.path.isfile(path):
                    return path
        # The number of frame.0001 is not an ending.
        stem = wanted.stem if _ENDING.fullmatch(wanted.suffix) else wanted.name
        keys = (_folded(wanted.name), _folded(stem))
        names = [*keys, f"{keys[0]}."]
        names += [without_upload_prefix(key) for key in keys]
        # Web tools write addresses: "a%20b.jpg".
        names += [_folded(unquote(key)) for key in keys]
        # Tables of numbers lose the zeros in front: 1 for 00001.jpg.
        names += [_NUMBER + key.lstrip("0") for key in keys if key.isdigit()]
        for key in dict.fromkeys(names):
            found = self._images.get(key, [])
            if len(found) > 1:
                found = _most_alike(found, wanted)
            if len(found) > 1:
                found = self._nearest(found, wanted)
            if len(found) == 1:
                return found[0]
        return None

    def _nearest(self, paths: list[Path], wanted: PureWindowsPath) -> list[Path]:
        """Those in the nearest folder, or where the name says in it; all if there is none."""
        below = wanted.parent.as_posix().lstrip("/")
        inside = ([p for p in paths if p.parent in (f / below, f)] for f in self.folders)
        return next(filter(None, inside), paths)

    @cached_property
    def _images(self) -> dict[str, list[Path]]:
        """Folded name, and name without ending, of all images below the folders."""
        images: dict[str, list[Path]] = {}
        seen: set[Path] = set()
        for folder in self.folders:
            for path in sorted(self._files(folder)):
                if path in seen or not _is_image_name(path):
                    continue
                seen.add(path)
                name, stem = _folded(path.name), _folded(path.stem)
                number = [_NUMBER + stem.lstrip("0")] if stem.isdigit() else []
                for key in dict.fromkeys((name, stem, *number)):
                    images.setdefault(key, []).append(path)
        return images


def _folded(name: str) -> str:
    """A name without its case, accents as one letter: macOS writes them as two."""
    return unicodedata.normalize("NFC", name).casefold()


def _most_alike(paths: list[Path], wanted: PureWindowsPath) -> list[Path]:
    """Those whose last folders agree with the name's for longest."""

    def agreement(path: Path) -> int:
        pairs = zip(reversed(path.parts[:-1]), reversed(wanted.parts[:-1]), strict=False)
        count = 0
        for mine, other in pairs:
            if mine.casefold() != other.casefold():
                break
            count += 1
        return count

    scores = [agreement(path) for path in paths]
    return [path for path, score in zip(paths, scores, strict=True) if score == max(scores)]
