"""Datasets whose label files list images and labelled shapes: one form that all of them become."""

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from d2lite.data.datasets.geometry import box_around_points
from d2lite.data.datasets.image_finder import ImageFinder
from d2lite.data.normal_forms import as_side
from d2lite.data.records.faults import FaultLog, reading_faults
from d2lite.data.records.image_sizes import image_record, size_or_record_fault
from d2lite.data.records.object_checks import box_around, mask_fault
from d2lite.structures import BoxMode
from d2lite.utils.errors import DataError, UserError
from d2lite.utils.garbage_collection import paused_garbage_collection
from d2lite.utils.logger import log_first_n

from .source import find_path

T = TypeVar("T")


MALFORMED = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)
"""What reading a part of a file raises that has other content than its layout says."""


@dataclass
class Shape:
    """One labelled object of an image, in pixels.

    Attributes:
        label: its class.
        box: xyxy; None where it follows from the mask or the keypoints.
        polygons: flat lists x0, y0, x1, y1, ...; the parts of one object.
        mask: a run-length code in place of polygons.
        keypoints: name -> (x, y, visibility 0, 1 or 2).
        is_crowd: whether it stands for a group of objects.
        where: the place in the file, for messages.
        fault: kind of `FAULTS` where it cannot be used.
        group: what `join_parts` makes one object of; 0 for an object of its own.
    """

    label: str
    box: list[float] | None = None
    polygons: list[list[float]] = field(default_factory=list)
    mask: dict[str, Any] | None = None
    keypoints: dict[str, tuple[float, float, int]] = field(default_factory=dict)
    is_crowd: bool = False
    where: str = ""
    fault: str = ""
    group: int = 0


@dataclass
class Entry:
    """One image as a label file has it.

    Attributes:
        name: of the image in the file; may be a path of another machine.
        shapes: its objects.
        path: of the image, or its address, where that is known; else it is looked for by its name.
        size: (height, width); None where the image file has to say it.
    """

    name: str
    shapes: list[Shape] = field(default_factory=list)
    path: Path | str | None = None
    size: tuple[int, int] | None = None


class EntrySource:
    """A dataset of entries; a layout defines `read_entries`, and `class_names` if its files do.

    Attributes:
        file: the label file or folder, for messages.
        folders: where images are looked for, nearest first.
    """

    evaluator_type = "coco"
    layout = ""

    def __init__(self, file: Path, folders: Iterable[Path], *, is_deep: bool = True) -> None:
        self.file, self._is_deep = file, is_deep
        self.folders = list(folders)
        # What is kept between the question for classes and the loading.
        self._kept: tuple[list[Entry], list[tuple[str, str]]] | None = None
        self._known: tuple[list[str], list[str]] | None = None

    def read_entries(self, faults: FaultLog) -> list[Entry]:
        """The images in the order of the file; what cannot be understood goes into `faults`.

        Raises:
            DataError: if the file as a whole is not of this layout.
        """
        raise NotImplementedError

    def class_names(self) -> Sequence[str] | None:
        """The classes in the order of the file; None for the sorted labels of its objects.

        It is asked after `read_entries`.
        """
        return None

    def keypoint_names(self) -> Sequence[str]:
        """The keypoints in their order; those that occur, sorted, unless the file lists them."""
        shapes = (shape for entry in self._read()[0] for shape in entry.shapes)
        return sorted({name for shape in shapes for name in shape.keypoints})

    def labels(self) -> set[str]:
        """The labels of all objects."""
        return {shape.label for entry in self._read()[0] for shape in entry.shapes} - {""}

    def metadata(self) -> dict[str, Any]:
        """Names of the keypoints, where there are any."""
        names = self._names()[1]
        return {"keypoint_names": names} if names else {}

    def classes(self) -> list[str]:
        """Class names in the order of their numbers."""
        names = self._names()[0]
        if not names:
            faults = FaultLog()
            for kind, example in self._read()[1]:
                faults.add(kind, example)
            raise DataError(
                f"{self.file}: no image has a labelled object, so there are no classes "
                f"(read as {self.layout}).{f' Found {faults.summary()}.' if faults.counts else ''}"
            )
        return list(names)

    def category_ids(self) -> None:
        """None: results are given by class numbers."""

    @paused_garbage_collection()
    def load(self) -> list[dict[str, Any]]:
        """One dict an image, numbered from 1."""
        entries, noted = self._read()
        index_of = {label: index for index, label in enumerate(self.classes())}
        keypoints = self._names()[1]
        finder = ImageFinder(self.folders, is_deep=self._is_deep)
        records: dict[str, dict[str, Any]] = {}
        with reading_faults(str(self.file)) as faults:
            for kind, examples in noted:
                faults.refuse(kind, examples, DataError(f"{examples}."))
            for number, entry in enumerate(entries, start=1):
                path: Path | str | None = entry.path or finder.find(entry.name)
                if path is None:
                    # Named by its first likely place; whoever reads it says that it is missing.
                    path = (finder.folders or [self.file.parent])[0] / entry.name.lstrip("/")
                size = entry.size if entry.size and all(map(as_side, entry.size)) else None
                size = size or size_or_record_fault(Path(path), faults)
                if size is None:
                    continue
                record = image_record(path, number, size, annotations=[])
                if records.setdefault(str(path), record) is not record:
                    # Two tasks, or two people's files; the same object in both is one.
                    faults.add("repeated_image", f"{self.file}: {path}")
                    record = records[str(path)]
                earlier = list(record["annotations"])
                objects = (_as_object(s, size, index_of, keypoints, faults) for s in entry.shapes)
                record["annotations"] += [o for o in objects if o is not None and o not in earlier]
        loaded = f"Loaded {len(records)} images ({self.layout}) from {self.file}"
        log_first_n(logging.INFO, loaded, key="message")
        # The names are small; entries would fill the memory, and the files may change.
        self._kept = None
        return list(records.values())

    def _read(self) -> tuple[list[Entry], list[tuple[str, str]]]:
        """The entries, and the faults found on the way as (kind, example)."""
        if self._kept is None:
            faults = _NotedFaults()
            try:
                self._kept = self.read_entries(faults), faults.noted
                names = self.class_names()
                classes = sorted(self.labels()) if names is None else list(names)
                self._known = classes, list(self.keypoint_names())
            except UserError:
                raise
            except MALFORMED as err:
                raise DataError(
                    f"{self.file} has other content than {self.layout} has "
                    f"({type(err).__name__}: {err}). Export it again, or as COCO."
                ) from err
        return self._kept

    def _names(self) -> tuple[list[str], list[str]]:
        """The names of the classes and of the keypoints."""
        if self._known is None:
            self._read()
            assert self._known is not None
        return self._known

    def read_each(
        self, items: Iterable[T], read: Callable[[T], Entry | None], faults: FaultLog
    ) -> list[Entry]:
        """The entry of each item of a file; an item that cannot be read is a fault."""
        entries = []
        for number, item in enumerate(items):
            try:
                entry = read(item)
            except MALFORMED as err:
                where = f"{self.file}: image {number} ({type(err).__name__}: {err})"
                faults.add("unreadable_annotations", where)
                continue
            entries += [entry] if entry is not None else []
        return entries


class FileSource(EntrySource):
    """A dataset of one label file with its images around it.

    Attributes:
        image_folders: where images are looked for, relative to the file's folder.
    """

    image_folders: tuple[str, ...] = (".", "images")

    def __init__(self, path: str, image_root: str | None) -> None:
        """Find the file.

        Args:
            path: of the label file.
            image_root: folder of the images, which comes first; None looks around the file alone.
        """
        file = find_path(path, suits=Path.is_file)
        named = [find_path(image_root, beside=file.parent)] if image_root else []
        super().__init__(file, [*named, *(file.parent / name for name in self.image_folders)])


class _NotedFaults(FaultLog):
    """Keeps faults until the dataset is loaded, since classes may be asked for before."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[tuple[str, str]] = []

    def add(self, kind: str, example: str, *, is_lost: bool = True) -> None:
        self.noted.append((kind, example))


def _as_object(
    shape: Shape,
    size: tuple[int, int],
    index_of: dict[str, int],
    keypoints: list[str],
    faults: FaultLog,
) -> dict[str, Any] | None:
    if shape.fault:
        faults.add(shape.fault, f"{shape.where}: {shape.label!r}")
        return None
    index = index_of.get(shape.label)
    if index is None:
        text = f"{shape.where}: the class {shape.label!r}; known are {', '.join(index_of)}"
        faults.refuse("unknown_category", text, DataError(f"{text}."))
        return None
    polygons = [p for p in shape.polygons if len(p) >= 6 and all(map(math.isfinite, p))]
    for _ in range(len(shape.polygons) - len(polygons)):
        faults.add("few_points", shape.where, is_lost=not polygons and not shape.box)
    obj: dict[str, Any] = {"category_id": index, "bbox_mode": BoxMode.XYXY_ABS}
    if shape.box is not None:
        obj["bbox"] = shape.box
    elif polygons:
        obj["bbox"] = box_around_points([value for p in polygons for value in p])
    elif shape.mask is not None:
        if mask_fault(shape.mask, *size):
            faults.add("bad_mask", f"{shape.where}: {shape.label!r}")
            return None
        obj["bbox"] = box_around(shape.mask)
    else:
        seen = [(x, y) for x, y, visible in shape.keypoints.values() if visible]
        if not seen:
            if not shape.polygons:
                faults.add("malformed", shape.where)
            return None
        obj["bbox"] = box_around_points([value for point in seen for value in point])
    if polygons:
        obj["segmentation"] = polygons
    elif shape.mask is not None:
        obj["segmentation"] = shape.mask
    if keypoints and shape.keypoints:
        obj["keypoints"] = [v for name in keypoints for v in shape.keypoints.get(name, (0, 0, 0))]
    if shape.is_crowd:
        obj["iscrowd"] = 1
    return obj
