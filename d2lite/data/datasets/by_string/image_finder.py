"""ImageFinder: the image file that a label file means, under the names that tools write."""

import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path, PureWindowsPath

from .source import IMAGE_ENDINGS

# Files that macOS, Windows and Jupyter leave in folders.
_LITTER = re.compile(r"(\._.*|\.DS_Store|Thumbs\.db|desktop\.ini)$", re.IGNORECASE)
_LITTER_FOLDERS = {"__MACOSX", ".ipynb_checkpoints"}
# Label Studio puts eight hexadecimal digits before the name of an uploaded file.
_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-(?=.)")


def is_litter(path: Path) -> bool:
    """Whether a file is one that systems leave behind, and nobody's data."""
    return bool(_LITTER.match(path.name)) or not _LITTER_FOLDERS.isdisjoint(path.parts)


class ImageFinder:
    """Finds images by the names in label files.

    A name may be a path of another machine, have backslashes, another case, another ending or
    none, or lack the folder that the image is in. The exact path comes first; then, among all
    images below the folders, the one whose path ends like the name; an ambiguous name finds none.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        """Take the folders to look in.

        Args:
            folders: nearest first; those that do not exist are passed over.
        """
        self.folders = [folder for folder in dict.fromkeys(folders) if folder.is_dir()]

    def find(self, name: str) -> Path | None:
        """The image file of a name; None if there is none, or several fit equally."""
        wanted = PureWindowsPath(name)
        for relative in dict.fromkeys((wanted.as_posix(), wanted.name)):
            for folder in self.folders:
                path = folder / relative.lstrip("/")
                if relative and path.suffix.lower() in IMAGE_ENDINGS and path.is_file():
                    return path
        keys = (wanted.name.casefold(), wanted.stem.casefold())
        names = [*keys, wanted.name.casefold() + "."]
        names += [_UPLOAD_PREFIX.sub("", key) for key in keys]
        for key in dict.fromkeys(names):
            found = self._images.get(key, [])
            if len(found) > 1:
                found = _most_alike(found, wanted)
            if len(found) == 1:
                return found[0]
        return None

    @cached_property
    def _images(self) -> dict[str, list[Path]]:
        """Casefolded name, and name without ending, of all images below the folders."""
        images: dict[str, list[Path]] = {}
        seen: set[Path] = set()
        for folder in self.folders:
            for path in sorted(folder.rglob("*")):
                if path.suffix.lower() not in IMAGE_ENDINGS or path in seen or is_litter(path):
                    continue
                seen.add(path)
                for key in dict.fromkeys((path.name.casefold(), path.stem.casefold())):
                    images.setdefault(key, []).append(path)
        return images


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
