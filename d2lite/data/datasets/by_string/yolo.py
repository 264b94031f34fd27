"""YOLO: beside each image a text file of boxes, polygons or poses in shares of the image's size.

A line is "class x y width height" (centre and size of a box), perhaps with one more number (a
confidence, or a track's number); "class x0 y0 x1 y1 x2 y2 ..." (a polygon of three points or more,
or the four corners of a rotated box); or, where data.yaml has kpt_shape, a box and its keypoints.
"""

import logging
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from d2lite.data.datasets.geometry import box_around_points
from d2lite.data.datasets.image_finder import without_upload_prefix
from d2lite.data.datasets.label_files import MAX_IMAGE_LABELS, read_text
from d2lite.data.records.faults import FaultLog, reading_faults
from d2lite.data.records.image_sizes import image_record, size_or_record_fault
from d2lite.structures import BoxMode
from d2lite.utils.errors import DataError, MissingFileError
from d2lite.utils.logger import log_first_n

from .file_kinds import visible
from .source import find_path
from .text_boxes import DotaSource, fits_dota
from .yolo_files import YoloFiles, find_yolo, label_file, read_yolo

logger = logging.getLogger(__name__)

# Of a class, also as some tools write it: "1.0".
_CLASS_NUMBER = re.compile(r"(\d{1,9})(\.0*)?")
_NUMBER = re.compile(r"-?\d*\.?\d+(e-?\d+)?")
# A box or polygon that begins further out is not in shares of the image.
_MAX_SHARE = 2.0


class YoloSource:
    """One split of a YOLO dataset."""

    evaluator_type = "coco"

    def __init__(self, path: str, split: str | None) -> None:
        """Find the files; images are listed by `load`.

        Args:
            path: of data.yaml, or the folder that holds it.
            split: "train" where None.
        """
        self._files = read_yolo(
            find_path(path, suits=lambda p: p.is_file() or find_yolo(p) is not None)
        )
        self._split = self._files.split_named(split)

    def metadata(self) -> dict[str, Any]:
        """Names of the keypoints and what a flip exchanges, of pose labels."""
        files = self._files
        if files.keypoints is None:
            return {}
        names = files.keypoint_names or [f"point {i}" for i in range(files.keypoints[0])]
        facts: dict[str, Any] = {"keypoint_names": names}
        if files.flips is not None:
            pairs = [(i, j) for i, j in enumerate(files.flips) if i < j]
            facts["keypoint_flip_map"] = [(names[i], names[j]) for i, j in pairs]
        return facts

    def classes(self) -> list[str]:
        """The names, in the order of their numbers."""
        return list(self._files.names.values())

    def category_ids(self) -> None:
        """None: results are given by class numbers."""

    def load(self) -> list[dict[str, Any]]:
        """One dict an image; an image without a label file has no objects."""
        listed = self._files.images(self._split)
        # By the file: a list may write one path in two ways.
        unique: dict[str, Path] = {}
        for path in listed:
            unique.setdefault(os.path.abspath(path), path)
        images = list(unique.values())
        records = []
        homes: dict[Path, set[Path]] = {}  # of labels -> of their images
        with reading_faults(str(self._files.file)) as faults:
            reader = _LabelReader(self._files, faults)
            if len(images) < len(listed):
                text = f"{len(listed) - len(images)} of {len(listed)} images of {self._split!r}"
                faults.add("repeated_image", f"{self._files.file}: {text}")
            for number, image in enumerate(images, start=1):
                size = size_or_record_fault(image, faults)
                if size is None:
                    continue
                labels = label_file(image)
                homes.setdefault(labels.parent, set()).add(image.parent)
                objects = reader.read(labels, *size)
                if objects is None:
                    continue
                records.append(image_record(image, number, size, annotations=objects))
            if records and reader.num_without >= len(records):
                wanted = label_file(images[0])
                faults.add("no_labels", f"{self._files.file}: looked for {wanted}, for instance")
            for home, places in homes.items():
                for path in _labels_alone(home, places):
                    faults.add("unused_labels", str(path))
        loaded = f"Loaded {len(records)} images in YOLO format from {self._files.file}"
        log_first_n(logging.INFO, loaded, key="message")
        if reader.num_without:
            logger.info(
                "%s: %d of %d images have no label file and count as images without objects.",
                self._files.file,
                reader.num_without,
                len(images),
            )
        return records


def _labels_alone(home: Path, places: Iterable[Path]) -> Iterator[Path]:
    """The files of a folder that label objects, and of whose name no image is in some folders."""
    images = (path.name.casefold() for place in places for path in visible(place))
    # a.jpg has a.txt or a.jpg.txt; an upload to Label Studio may have changed either name.
    known = {without_upload_prefix(n) for name in images for n in (name, Path(name).stem)}
    for path in visible(home, "*.txt"):
        if without_upload_prefix(path.stem.casefold()) not in known and path.is_file():
            words = _words(read_text(path, MAX_IMAGE_LABELS).lstrip().partition("\n")[0])
            if len(words) > 4 and all(map(_NUMBER.fullmatch, words[1:])):
                yield path


class _LabelReader:
    """Reads label files and counts what cannot be used."""

    def __init__(self, files: YoloFiles, faults: FaultLog) -> None:
        self.num_without = 0
        self._listings: dict[Path, dict[str, Path]] = {}
        self._index_of = {number: index for index, number in enumerate(files.names)}
        # A few tools write the class's name in place of its number.
        self._index_of |= {
            name: index
            for index, name in enumerate(files.names.values())
            if name not in self._index_of
        }
        self._file, self._keypoints, self._faults = files.file, files.keypoints, faults

    def read(self, path: Path, height: int, width: int) -> list[dict[str, Any]] | None:
        """The objects of one image; None if its file is there and cannot be read."""
        try:
            lines = read_text(self._of_any_case(path), MAX_IMAGE_LABELS).splitlines()
        except MissingFileError as err:
            if not isinstance(err.__cause__, FileNotFoundError):
                self._faults.refuse("unreadable_annotations", str(err), err)
                return None
            self.num_without += 1
            return []
        objects = []
        for number, line in enumerate(lines, start=1):
            if line.strip():
                obj = self._object(_words(line), height, width, f"{path}, line {number}")
                objects += [obj] if obj else []
        return objects

    def _of_any_case(self, path: Path) -> Path:
        """The file itself, or one beside where it should be whose name differs in case alone."""
        if path.is_file():
            return path
        if path.parent not in self._listings:
            inside = path.parent.iterdir() if path.parent.is_dir() else ()
            files = sorted(inside)
            # Label Studio names its labels by an upload that its images may not be named by.
            known = {without_upload_prefix(file.name.casefold()): file for file in files}
            self._listings[path.parent] = known | {file.name.casefold(): file for file in files}
        return self._listings[path.parent].get(path.name.casefold(), path)

    def _object(
        self, words: list[str], height: int, width: int, where: str
    ) -> dict[str, Any] | None:
        if fits_dota(words):  # "YOLOv5 Oriented Bounding Boxes" of Roboflow
            shape = DotaSource.read_line(words)
            index, polygon = self._class(shape.label, where), shape.polygons[0]
            return None if index is None else _outlined(index, polygon)
        index = self._class(words[0], where)
        if index is None:
            return None
        try:
            values = [float(number) for number in words[1:]]
        except ValueError:
            self._faults.add("malformed", f"{where}: values that are not numbers")
            return None
        if max(values[:2], default=0) > _MAX_SHARE:
            why = "x and y are shares of the image's width and height, from 0 to 1, not pixels"
            self._faults.add("box_outside", f"{where}: {why}")
            return None
        if self._keypoints is not None:
            return self._pose(index, values, height, width, where)
        if len(values) in (4, 5):
            return {"category_id": index, **_box(values, height, width)}
        if len(values) < 6 or len(values) % 2:
            kind = "few_points" if len(values) > 1 else "malformed"
            self._faults.add(kind, f"{where}: {len(values)} values after the class")
            return None
        return _outlined(index, [v * (height if i % 2 else width) for i, v in enumerate(values)])

    def _class(self, label: str, where: str) -> int | None:
        index = self._index_of.get(label)
        if index is None and (number := _CLASS_NUMBER.fullmatch(label)):
            index = self._index_of.get(str(int(number[1])))
        if index is None:
            known = ", ".join(self._index_of)
            text = f"{where} has the class {label!r}; {self._file.name} has {known}"
            self._faults.refuse("unknown_category", text, DataError(f"{text}."))
        return index

    def _pose(
        self, index: int, values: list[float], height: int, width: int, where: str
    ) -> dict[str, Any] | None:
        count, size = self._keypoints or (0, 0)
        if len(values) < 4 + count * size:
            text = f"{where}: {len(values)} values after the class, not 4 and {count} x {size}"
            self._faults.add("malformed", f"{text} (kpt_shape)")
            return None
        keypoints: list[float] = []
        for i in range(count):
            x, y, *seen = values[4 + i * size : 4 + (i + 1) * size]
            # Without a third number, a point at the origin is one that nobody labelled.
            visible = seen[0] if seen else 2.0 * (x > 0 or y > 0)
            keypoints += [x * width, y * height, visible]
        return {"category_id": index, **_box(values, height, width), "keypoints": keypoints}


def _outlined(index: int, polygon: list[float]) -> dict[str, Any]:
    return {
        "category_id": index,
        "bbox": box_around_points(polygon),
        "bbox_mode": BoxMode.XYXY_ABS,
        "segmentation": [polygon],
    }


def _box(values: list[float], height: int, width: int) -> dict[str, Any]:
    x, y, w, h = values[:4]
    box = [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
    return {"bbox": box, "bbox_mode": BoxMode.XYWH_ABS}


def _words(line: str) -> list[str]:
    """The parts of a line.

    Some tools write commas between them, and a point in each number; others a decimal comma.
    """
    return line.replace(",", " " if "." in line else ".").split()
