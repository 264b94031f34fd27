"""Splits that the names of folders and files say."""

import re
from collections.abc import Callable
from pathlib import Path

from .file_kinds import visible
from .splits import SAME_SPLIT, WHOLE, Found, Splits

_SPLIT_IN_NAME = re.compile(
    r"(?<![a-z])(trainval|train|training|valid|validation|val|testing|test)(?![a-z])"
)


def split_named(text: str) -> str:
    """The split whose name a text has as a word; `WHOLE` where it has none."""
    match = _SPLIT_IN_NAME.search(re.sub(r"[\d_]+", " ", text.lower()))
    return SAME_SPLIT.get(match[1], match[1]) if match else WHOLE


def _subfolders(folder: Path) -> dict[str, Path]:
    """Subfolders that have a split's name."""
    inside = [p for p in visible(folder) if p.is_dir()]
    return {
        split: p for p in inside if (split := split_named(p.name)) != WHOLE and p.name.isalpha()
    }


def by_split(folder: Path, find: Callable[[Path], Found | None]) -> Splits:
    """What is found in each split's folder, or in the folder itself."""
    found = {split: find(path) for split, path in _subfolders(folder).items()}
    splits = {split: where for split, where in found.items() if where is not None}
    if splits:
        return splits
    whole = find(folder)
    if whole is not None:
        return {WHOLE: whole}
    for path in filter(Path.is_dir, visible(folder)):  # as VisDrone2019-DET-train
        if (split := split_named(path.name)) != WHOLE and (inside := find(path)):
            splits.setdefault(split, inside)
    return splits


def one_file(kind: str, files: Callable[[Path], list[Path]]) -> Callable[[Path], Splits]:
    """A layout of one label file: in each split's folder, or several whose names say the split."""

    def find(place: Path) -> Found | None:
        inside = files(place)
        return Found(kind, inside[0]) if inside else None

    def layout(folder: Path) -> Splits:
        splits: Splits = {}
        for home in (folder / "annotations", folder):
            for path in files(home):
                splits.setdefault(split_named(path.stem), Found(kind, path))
        return splits or by_split(folder, find)

    return layout
