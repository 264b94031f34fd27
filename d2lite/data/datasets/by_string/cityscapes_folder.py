"""Folders as Cityscapes has them, with its classes or one's own: gtFine/ and leftImg8bit/.

Also CVAT's and Datumaro's export "Cityscapes", whose label_colors.txt names the classes.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from d2lite.data.datasets.builtin_meta import CITYSCAPES_CATEGORIES
from d2lite.data.datasets.image_finder import files_below
from d2lite.data.datasets.label_files import read_json
from d2lite.data.records.faults import FaultLog
from d2lite.structures.masks import rle
from d2lite.utils.errors import UserError

from .entries import Entry, EntrySource, Shape
from .file_kinds import visible
from .pixel_maps import BACKGROUND, read_label_colours, read_numbers

_MAP, _OUTLINES = "_instanceIds.png", "_polygons.json"
_IMAGES = ("leftImg8bit", "imgsFine/leftImg8bit")
# Labels of Cityscapes that its evaluation leaves out.
_OTHER_LABELS = (
    *("unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic"),
    *("ground", "parking", "rail track", "guard rail", "bridge", "tunnel"),
    *("caravan", "trailer", "license plate"),
)
_CLASSES = {c["name"] for c in CITYSCAPES_CATEGORIES}


def cityscapes_folder_splits(root: Path) -> list[str]:
    """The folders of gtFine with maps of objects or outlines."""
    places = (path for path in visible(root / "gtFine") if path.is_dir())
    return [p.name for p in places if _files(p, _MAP) or _files(p, _OUTLINES)]


def _files(folder: Path, ending: str) -> list[Path]:
    return sorted(path for path in files_below(folder) if path.name.endswith(ending))


class CityscapesFolder(EntrySource):
    """One split: maps "class * 1000 + object", or outlines where classes have no numbers."""

    layout = "Cityscapes"

    def __init__(self, root: Path, split: str) -> None:
        """Take a folder of gtFine."""
        super().__init__(root / "gtFine" / split, [root / name / split for name in _IMAGES])
        self._own: list[str] | None = None
        self._colours = root / "label_colors.txt"

    def class_names(self) -> Sequence[str] | None:
        """Those of label_colors.txt or of Cityscapes; None for the labels of the outlines."""
        return self._own

    def read_entries(self, faults: FaultLog) -> list[Entry]:
        """One image a map, or a file of outlines."""
        if self._colours.is_file():
            rows = read_label_colours(self._colours)
            names = {i: label for i, (label, _) in enumerate(rows)}
            others = {i for i, label in names.items() if label.lower() in BACKGROUND}
        else:
            names = {c["id"]: c["name"] for c in CITYSCAPES_CATEGORIES if c["isthing"]}
            others = set(range(-1, 34)) - names.keys()
        maps = _files(self.file, _MAP)
        if not self._colours.is_file():
            entries = self.read_each(_files(self.file, _OUTLINES), _outlined, faults)
            labels = {shape.label for entry in entries for shape in entry.shapes}
            if not labels <= {*_OTHER_LABELS, *_CLASSES}:
                return entries
            if not maps:
                for entry in entries:
                    entry.shapes = [s for s in entry.shapes if s.label in names.values()]
                return entries
        self._own = [label for i, label in names.items() if i not in others]
        return self.read_each(maps, lambda path: _mapped(path, names, others, faults), faults)


def _image_name(path: Path, ending: str) -> str:
    return path.name.removesuffix(ending).removesuffix("_gtFine") + "_leftImg8bit.png"


def _outlined(path: Path) -> Entry:
    content: dict[str, Any] = read_json(path)
    entry = Entry(_image_name(path, _OUTLINES))
    entry.size = int(content["imgHeight"]), int(content["imgWidth"])
    for number, obj in enumerate(content["objects"]):
        if not obj.get("deleted"):
            label = str(obj["label"])
            shape = Shape(label, where=f"{path}: object {number}")
            # "cargroup"; a class of one's own may end so, too.
            if (name := label.removesuffix("group")) in _CLASSES and name != label:
                shape.label, shape.is_crowd = name, True
            shape.polygons = [[float(value) for point in obj["polygon"] for value in point]]
            entry.shapes.append(shape)
    return entry


def _mapped(path: Path, names: dict[int, str], others: set[int], faults: FaultLog) -> Entry | None:
    try:
        numbers = read_numbers(path)
    except UserError as err:
        faults.add("unreadable_annotations", str(err))
        return None
    entry = Entry(_image_name(path, _MAP), size=(numbers.shape[0], numbers.shape[1]))
    entry.shapes = list(_objects(numbers, path, names, others))
    return entry


def _objects(
    numbers: np.ndarray, path: Path, names: dict[int, str], others: set[int]
) -> Iterator[Shape]:
    for value in np.unique(numbers).tolist():
        kind = value // 1000 or value
        where = f"{path}: value {value}"
        if kind in names and kind not in others:
            mask = rle.encode(numbers == value)
            # A class without a number of an object is a group.
            yield Shape(names[kind], mask=mask, where=where, is_crowd=value < 1000)
        elif kind not in others:
            where += ", of a class that label_colors.txt (a line 'red green blue name') may name"
            yield Shape("", where=where, fault="malformed")
