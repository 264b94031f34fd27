"""Masks of objects in one PNG an image: Pascal VOC, MOTS, Mapillary Vistas and KITTI."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from d2lite.data.datasets.builtin_meta import CITYSCAPES_CATEGORIES
from d2lite.data.datasets.image_finder import has_image, images_below
from d2lite.data.datasets.label_files import read_json, read_lines
from d2lite.data.records.faults import FaultLog
from d2lite.structures.masks import rle
from d2lite.utils.errors import DataError, UserError

from .entries import MALFORMED, Entry, EntrySource, Shape
from .pixel_maps import (
    BACKGROUND,
    NO_CLASS,
    image_key,
    object_masks,
    pixel_classes,
    read_label_colours,
    read_numbers,
)

VOC_IMAGES = ("JPEGImages", "images", "Images")


def segmentation_splits(root: Path) -> list[str]:
    """The lists in ImageSets/Segmentation of a folder with maps of objects; [""] without any."""
    if not has_image(root / "SegmentationObject"):
        return []
    return sorted(p.stem for p in (root / "ImageSets/Segmentation").glob("*.txt")) or [""]


class SegmentationSource(EntrySource):
    """SegmentationObject/NAME.png, SegmentationClass/NAME.png and JPEGImages/NAME.jpg.

    An object is of the class that most of its pixels have.
    """

    layout = "masks of Pascal VOC"

    def __init__(self, root: Path, split: str) -> None:
        """Take the folder.

        Args:
            root: that has the folders.
            split: name of a list in ImageSets/Segmentation; "" for all maps.

        Raises:
            DataError: without a folder of images.
        """
        folders = [root / name for name in VOC_IMAGES if (root / name).is_dir()]
        if not folders:
            raise DataError(
                f"{root} has maps of objects and no images. Export them as well (CVAT: Save "
                "images), or put them into JPEGImages."
            )
        super().__init__(root, folders)
        self._split = split
        self._pixel_classes = pixel_classes([root, root.parent])

    def class_names(self) -> Sequence[str]:
        """Those of the list of colours, without the background."""
        return self._pixel_classes.objects

    def read_entries(self, faults: FaultLog) -> list[Entry]:
        """The images of the list in its order, also those without a map, which have no object."""
        objects, classes = (
            {image_key(path.relative_to(home).as_posix()): path for path in images_below(home)}
            for home in (self.file / "SegmentationObject", self.file / "SegmentationClass")
        )
        names = sorted(objects)
        if self._split:
            lines = read_lines(self.file / "ImageSets/Segmentation" / f"{self._split}.txt")
            names = list(dict.fromkeys(image_key(line) for line in lines))
            # A line may be the path of an image.
            short = {n: n.rpartition("/")[2] for n in names}
            names = [n if n in objects or short[n] not in objects else short[n] for n in names]
        if objects.keys().isdisjoint(names):
            raise DataError(
                f"None of the {len(names)} images of {self.file}, split {self._split!r}, has a map "
                "in SegmentationObject, so they have no objects to learn from or to compare with."
            )
        entries = []
        for name in names:
            entry = Entry(name)
            try:
                if name in objects:
                    self._add_objects(entry, objects[name], classes.get(name))
            except UserError as err:
                faults.add("unreadable_annotations", str(err))
                continue
            entries.append(entry)
        return entries

    def _add_objects(self, entry: Entry, objects: Path, classes: Path | None) -> None:
        if classes is None:
            raise DataError(f"{objects} has no map of the same name in SegmentationClass.")
        masks, numbers = object_masks(objects), self._pixel_classes.numbers(classes)
        names = self._pixel_classes.names
        is_object = np.isin([*names, *[""] * (NO_CLASS + 1)], self._pixel_classes.objects)
        entry.size = numbers.shape[0], numbers.shape[1]
        for number, mask in enumerate(masks, start=1):
            if mask.shape != numbers.shape:
                raise DataError(f"{objects} and {classes} have different sizes.")
            counts = np.bincount(numbers[mask], minlength=NO_CLASS + 1)
            counts *= is_object[: len(counts)]
            where = f"{objects}: object {number}"
            if counts.any():
                entry.shapes.append(
                    Shape(names[int(counts.argmax())], mask=rle.encode(mask), where=where)
                )
            else:
                where += f", which has no class in {classes.parent.name}"
                entry.shapes.append(Shape("", where=where, fault="malformed"))


class _Layout(NamedTuple):
    """Maps of numbers, class * divisor + object, in one folder, and where their images are."""

    folder: str
    divisor: int
    images: Sequence[str]
    title: str


_NUMBERED = (
    _Layout("instances", 1000, ("images", "image_02", "training/image_02"), "MOTS"),
    _Layout("instance", 256, ("image_2", "images"), "masks of KITTI"),
)
_VISTAS = _Layout("instances", 256, ("images", "../images"), "Mapillary Vistas")
_MOTS_NAMES = {1: "car", 2: "pedestrian"}
# The class of regions that do not count.
_MOTS_IGNORED = 10
_MOTS_LINE = re.compile(r"(\d+\s+){5}\S+$")


def numbered_layout(root: Path) -> _Layout | None:
    """The layout whose folder of maps a folder has."""
    if (root / _VISTAS.folder).is_dir() and _vistas_names(root):
        return _VISTAS
    return next((layout for layout in _NUMBERED if has_image(root / layout.folder)), None)


def _vistas_names(root: Path) -> dict[int, str]:
    """The classes of Mapillary Vistas that have objects, of its config beside or above a folder."""
    for home in (root, *root.resolve().parents[:2]):
        # training/v2.0/instances has its classes in config_v2.0.json.
        files = sorted(home.glob("config*.json"))
        for file in sorted(files, key=lambda path: not path.stem.endswith(root.resolve().name)):
            # A file of this name may be anybody's.
            with suppress(UserError, *MALFORMED):
                labels = read_json(file)["labels"]
                return {i: str(c["readable"]) for i, c in enumerate(labels) if c["instances"]}
    return {}


class NumberedSource(EntrySource):
    """16-bit maps of MOTS, Mapillary Vistas and KITTI, also as CVAT and Datumaro write them."""

    def __init__(self, root: Path, layout: _Layout) -> None:
        """Take a folder and its layout, which `numbered_layout` finds."""
        self._layout, self.layout = layout, layout.title
        super().__init__(root, [root / name for name in layout.images])
        self._maps = root / layout.folder
        self._name_of = self._class_of_number()

    def _class_of_number(self) -> dict[int, str]:
        """Number of a class -> name; KITTI's are those of Cityscapes."""
        if self._layout is _VISTAS:
            return _vistas_names(self.file)
        labels = self._maps / "labels.txt"
        if labels.is_file():
            return dict(enumerate(read_lines(labels), start=1))
        for home in (self.file, self.file.parent):
            if (home / "label_colors.txt").is_file():
                rows = read_label_colours(home / "label_colors.txt")
                return {i: label for i, (label, _) in enumerate(rows)}
        if self._layout.divisor == 1000:
            return _MOTS_NAMES
        return {c["id"]: c["name"] for c in CITYSCAPES_CATEGORIES if c["isthing"]}

    def class_names(self) -> Sequence[str]:
        """All, in the order of their numbers, so that splits have the same."""
        return [name for name in self._name_of.values() if name.lower() not in BACKGROUND]

    def read_entries(self, faults: FaultLog) -> list[Entry]:
        """One image a map; regions of a class without a number of an object are crowds."""
        entries = []
        for path in images_below(self._maps):
            entry = Entry(path.relative_to(self._maps).with_suffix("").as_posix())
            try:
                numbers = read_numbers(path)
            except UserError as err:
                faults.add("unreadable_annotations", str(err))
                continue
            entry.size = numbers.shape[0], numbers.shape[1]
            entry.shapes = list(self._objects(numbers, path))
            entries.append(entry)
        single = {s.label for entry in entries for s in entry.shapes if not s.is_crowd}
        for entry in entries:  # what has no objects at all is road, sky ...
            entry.shapes = [s for s in entry.shapes if s.label in single or s.fault]
        return entries

    def _objects(self, numbers: np.ndarray, path: Path) -> Iterator[Shape]:
        for value in np.unique(numbers).tolist():
            kind, number = divmod(value, self._layout.divisor)
            label = self._name_of.get(kind, "")
            if value and label and label.lower() not in BACKGROUND:
                # The others count objects from 0.
                is_crowd = number == 0 and self._layout.folder == "instance"
                mask = rle.encode(numbers == value)
                yield Shape(label, mask=mask, where=f"{path}: value {value}", is_crowd=is_crowd)
            elif value and not label and self._layout.divisor == 1000 and kind != _MOTS_IGNORED:
                where = f"{path}: value {value} is not the number of a class * 1000 + an object"
                yield Shape("", where=where, fault="malformed")


def mots_lists(root: Path) -> list[Path]:
    """The text files of MOTS: instances_txt/SEQUENCE.txt, or SEQUENCE/gt/gt.txt."""
    files = sorted([*root.glob("instances_txt/*.txt"), *root.glob("*/gt/gt.txt")])
    return [path for path in files if any(map(_MOTS_LINE.match, read_lines(path)[:1]))]


class MotsListSource(EntrySource):
    """Lines "frame object class height width run-length code", a file a sequence.

    Frames without an object have no line, and are not in the set.
    """

    layout = "MOTS"

    def __init__(self, root: Path) -> None:
        """Take the folder of the lists and the images."""
        super().__init__(root, [root / name for name in ("image_02", "training/image_02", ".")])

    def class_names(self) -> Sequence[str]:
        """Those of MOTS."""
        return list(_MOTS_NAMES.values())

    def read_entries(self, faults: FaultLog) -> list[Entry]:
        """The frames in the order of the lists; regions that do not count are left out."""
        entries: dict[str, Entry] = {}
        for file in mots_lists(self.file):
            sequence = f"{file.parents[1].name}/img1" if file.name == "gt.txt" else file.stem
            for number, line in enumerate(read_lines(file), start=1):
                where = f"{file}, line {number}"
                words = line.split()
                if _MOTS_LINE.match(line) is None:
                    faults.add("malformed", where)
                    continue
                frame, _, kind, height, width = map(int, words[:5])
                name = f"{sequence}/{frame:06d}"
                size = height, width
                shapes = entries.setdefault(name, Entry(name, size=size)).shapes
                if kind in _MOTS_NAMES:
                    mask = {"size": [height, width], "counts": words[5]}
                    shapes.append(Shape(_MOTS_NAMES[kind], mask=mask, where=where))
        return list(entries.values())
