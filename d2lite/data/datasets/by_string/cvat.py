"""CVAT's own formats: "CVAT for images" and "CVAT for video", one annotations.xml.

Boxes, polygons, ellipses, masks and skeletons become objects; a box's rotation is in degrees,
clockwise about its centre. Shapes of one group and label are one object, as in CVAT's own export to
COCO. Of a video, each frame in which a track is visible counts.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from d2lite.data.datasets.geometry import box_around_points, ellipse, empty_mask, rectangle
from d2lite.data.datasets.label_files import read_text, read_xml
from d2lite.data.records.faults import FaultLog
from d2lite.structures.masks import rle
from d2lite.utils.errors import DataError

from .entries import MALFORMED, Entry, EntrySource, Shape
from .parts import join_parts
from .source import find_path

# Shapes without an area, which detection has no use for.
_NO_AREA = {"polyline", "points", "cuboid", "tag"}


def cvat_subsets(path: Path) -> list[str]:
    """The subsets of a project's images, in order: an attribute of each <image> of its export."""
    found = re.findall(r'<image [^>]*?\bsubset="([^"]*)"', read_text(path))
    return list(dict.fromkeys(name for name in found if name))


class CvatSource(EntrySource):
    """One annotations.xml and the images around it; of a project, one subset or all of them."""

    layout = "CVAT XML"

    def __init__(self, path: str, image_root: str | None) -> None:
        """Find the file.

        Args:
            path: of the XML, or of the folder that holds annotations.xml.
            image_root: a subset of the file, or the folder of the images; None looks around the
                file for all images.
        """
        file = find_path(path, suits=lambda place: _xml(place).is_file())
        self._labels: list[str] = []
        self._points: list[str] = []
        home = _xml(file).parent
        self._subset = image_root if image_root in cvat_subsets(_xml(file)) else None
        if self._subset is not None:
            folders = [home / "images" / self._subset]
        else:
            folders = [find_path(image_root, beside=home)] if image_root else []
        super().__init__(_xml(file), [*folders, home / "images", home / "data", home])

    def read_entries(self, faults: FaultLog) -> list[Entry]:
        """Every image, or every frame of the video; deleted frames are not among them."""
        root = read_xml(self.file)
        if root.tag != "annotations":
            raise DataError(
                f"{self.file} is not CVAT's: it begins with <{root.tag}>, not <annotations>. "
                "Export as 'CVAT for images 1.1'."
            )
        labels = list(root.iterfind("./meta//label"))
        # The parts of skeletons are labels with a parent.
        parts = [label for label in labels if label.find("parent") is not None]
        self._labels = _names(label for label in labels if label not in parts)
        self._points = _names(parts)
        images = (node for node in root.iter("image") if self._subset in (None, node.get("subset")))
        entries = self.read_each(images, lambda node: self._image(node, faults), faults)
        return entries or self._frames(root, faults)

    def class_names(self) -> Sequence[str] | None:
        """The labels of the task, in its order, without the parts of skeletons."""
        return self._labels or None

    def keypoint_names(self) -> Sequence[str]:
        """The parts of the skeletons, in the task's order."""
        return self._points or super().keypoint_names()

    def _image(self, node: ElementTree.Element, faults: FaultLog) -> Entry:
        name = node.get("name", "")
        size = (_whole(node.get("height")), _whole(node.get("width")))
        entry = Entry(name, size=size)
        for place, child in enumerate(node):
            where = f"{self.file}: image {name}, shape {place}"
            entry.shapes += _shapes(child, child, where, size, faults)
        entry.shapes = join_parts(entry.shapes)
        return entry

    def _frames(self, root: ElementTree.Element, faults: FaultLog) -> list[Entry]:
        """The frames of a video on which some track is visible."""
        size = root.find("./meta//original_size")
        height, width = (
            _whole(size.findtext(k)) if size is not None else 0 for k in ("height", "width")
        )
        frames: dict[int, list[Shape]] = {}
        for track in root.iter("track"):
            for node in track:
                frame = _whole(node.get("frame"))
                frames.setdefault(frame, [])
                if node.get("outside") == "1":
                    continue
                where = f"{self.file}: track {track.get('id')}, frame {frame}"
                frames[frame] += _shapes(node, track, where, (height, width), faults)
        deleted = {_whole(node.text) for node in root.iterfind("./meta//deleted_frames/*")}
        return [
            Entry(f"frame_{frame:06d}", join_parts(shapes), size=(height, width))
            for frame, shapes in sorted(frames.items())
            if frame not in deleted
        ]


def _xml(place: Path) -> Path:
    return place / "annotations.xml" if place.is_dir() else place


def _names(labels: Iterable[ElementTree.Element]) -> list[str]:
    return list(dict.fromkeys(str(label.findtext("name")) for label in labels))


def _whole(text: str | None) -> int:
    try:
        return int(float(text or 0))
    except (ValueError, OverflowError):
        return 0


def _shapes(
    node: ElementTree.Element,
    owner: ElementTree.Element,
    where: str,
    size: tuple[int, int],
    faults: FaultLog,
) -> Iterator[Shape]:
    """The object of an XML element, if it is one; its owner has the label and the group."""
    label = owner.get("label", "")
    try:
        if node.tag in _NO_AREA:
            if node.tag != "tag":
                faults.add("no_area", f"{where}, {node.tag}")
        elif node.tag in ("box", "polygon", "ellipse", "mask", "skeleton"):
            shape = _READERS[node.tag](node, size)
            shape.label, shape.where = label, where
            shape.group = _whole(owner.get("group_id"))
            yield shape
    except MALFORMED as err:
        yield Shape(label, where=f"{where} ({err})", fault="malformed")


def _numbers(node: ElementTree.Element, *keys: str) -> list[float]:
    return [float(node.attrib[key]) for key in keys]


def _points(text: str) -> list[float]:
    return [float(value) for pair in text.split(";") for value in pair.split(",")]


def _box(node: ElementTree.Element, size: tuple[int, int]) -> Shape:
    x0, y0, x1, y1 = _numbers(node, "xtl", "ytl", "xbr", "ybr")
    degrees = float(node.get("rotation", 0))
    if not degrees:
        return Shape("", [x0, y0, x1, y1])
    return Shape("", polygons=[rectangle(x0, y0, x1, y1, degrees)])


def _polygon(node: ElementTree.Element, size: tuple[int, int]) -> Shape:
    return Shape("", polygons=[_points(node.attrib["points"])])


def _ellipse(node: ElementTree.Element, size: tuple[int, int]) -> Shape:
    cx, cy, rx, ry = _numbers(node, "cx", "cy", "rx", "ry")
    return Shape("", polygons=[ellipse(cx, cy, rx, ry, float(node.get("rotation", 0)))])


def _mask(node: ElementTree.Element, size: tuple[int, int]) -> Shape:
    """Runs of 0 and 1 along the rows of a window of the image."""
    left, top, width, height = (int(v) for v in _numbers(node, "left", "top", "width", "height"))
    runs = [int(run) for run in node.attrib["rle"].split(",")]
    rows, columns = size
    is_inside = 0 <= left <= left + width <= columns and 0 <= top <= top + height <= rows
    if not is_inside or min(runs) < 0 or sum(runs) != width * height:
        return Shape("", fault="bad_mask")
    window = np.repeat(np.arange(len(runs)) % 2, runs).reshape(height, width)
    mask = empty_mask(size)
    mask[top : top + height, left : left + width] = window
    return Shape("", mask=rle.encode(mask))


def _skeleton(node: ElementTree.Element, size: tuple[int, int]) -> Shape:
    """Points outside of the image are unlabelled, occluded ones hidden."""
    keypoints: dict[str, Any] = {}
    for point in node.iter("points"):
        x, y = _points(point.attrib["points"])
        seen = 1 if point.get("occluded") == "1" else 2
        keypoints[point.get("label", "")] = (
            (0, 0, 0) if point.get("outside") == "1" else (x, y, seen)
        )
    seen_points = [(x, y) for x, y, v in keypoints.values() if v]
    if not seen_points:
        return Shape("", fault="malformed")
    return Shape("", box_around_points([v for p in seen_points for v in p]), keypoints=keypoints)


_READERS = {
    "box": _box,
    "polygon": _polygon,
    "ellipse": _ellipse,
    "mask": _mask,
    "skeleton": _skeleton,
}
