"""One XML file of Pascal VOC: the size of an image and its objects.

Tools that took over its form put other shapes in place of a box, or beside it: rotated boxes
(roLabelImg) and polygons (LabelMe of MIT, Roboflow).
"""

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from d2lite.data.records.faults import FaultLog
from d2lite.utils.errors import DataError, MissingFileError

from .geometry import box_around_points, rectangle
from .label_files import MAX_IMAGE_LABELS, read_xml
from .location import missing_file

# What tools call the element of the four corners.
_BOX_TAGS = ("bndbox", "bbox", "box")


class VocObject(NamedTuple):
    """One object of an annotation file.

    Attributes:
        name: its class.
        corners: xmin, ymin, xmax, ymax, in pixel indices that begin at 1 and include the last.
        difficult: 0 or 1.
        truncated: 0 or 1.
        pose: a word.
        outline: a polygon x0, y0, x1, y1, ... in pixels; None where there is a box alone.
    """

    name: str
    corners: tuple[float, float, float, float]
    difficult: int
    truncated: int
    pose: str
    outline: list[float] | None = None


def voc_labels(path: Path) -> set[str]:
    """The class names in one annotation file."""
    labels = {(o.findtext("name") or "").strip() for o in _elements(read_annotation(path))}
    return labels - {""}


def _elements(root: ElementTree.Element) -> Iterator[ElementTree.Element]:
    """The objects; LabelMe of MIT keeps those that were deleted, with a mark."""
    return (o for o in root.iter("object") if (o.findtext("deleted") or "").strip() != "1")


def annotation_file(path: Path) -> Path:
    """The path itself, or that of NAME.XML where only this is there."""
    other = path.with_suffix(".XML")
    return other if other.is_file() and not path.is_file() else path


def read_annotation(path: Path) -> ElementTree.Element:
    """The root of one annotation file, its tags in lower case.

    Raises:
        MissingFileError: if it is not there or cannot be read.
        DataError: if it is not XML.
    """
    try:
        root = read_xml(annotation_file(path), MAX_IMAGE_LABELS)
    except MissingFileError as err:
        if isinstance(err.__cause__, FileNotFoundError):
            raise missing_file("VOC annotations", path) from err
        raise
    for element in root.iter():
        element.tag = element.tag.lower()
    return root


def stated_size(root: ElementTree.Element) -> tuple[int, int] | None:
    """(height, width) of the XML; None where it has none that can be."""
    for sides in (("size/height", "size/width"), ("imagesize/nrows", "imagesize/ncols")):
        try:
            height, width = (float(root.findtext(side) or 0) for side in sides)
            if min(height, width) >= 1:
                return int(height), int(width)
        except (ValueError, OverflowError):
            continue
    return None


def annotated_objects(
    root: ElementTree.Element, path: Path, faults: FaultLog
) -> Iterator[VocObject]:
    """The objects of an annotation file; those that cannot be understood go into `faults`.

    Args:
        root: of the file.
        path: of the file, for messages.
        faults: what a strict one refuses, it raises as a DataError.
    """
    for element in _elements(root):
        try:
            yield _read_object(element, path)
        except DataError as err:
            faults.refuse("malformed", str(err), err)


def _read_object(element: ElementTree.Element, path: Path) -> VocObject:
    label = (element.findtext("name") or "").strip()
    if not label:
        raise DataError(f"{path}: an object has no name.")
    try:
        outline = _outline(element)
        box = next((tag for tag in _BOX_TAGS if element.find(tag) is not None), "")
        if outline is None or box:
            x0, y0, x1, y1 = _numbers(element, box, ("xmin", "ymin", "xmax", "ymax"))
        else:
            x0, y0, x1, y1 = box_around_points(outline)
            # Corners are pixel indices that begin at 1.
            x0, y0 = x0 + 1, y0 + 1
    except (ValueError, OverflowError) as err:
        inside = ", ".join(child.tag for child in element.iterfind(f"{box or '.'}/*")) or "nothing"
        raise DataError(
            f"{path}: the box of object {label!r} is incomplete: expected numbers in bndbox/xmin, "
            f"ymin, xmax and ymax; {box or 'the object'} has {inside} ({err})."
        ) from err
    difficult, truncated = (_mark(element.findtext(key)) for key in ("difficult", "truncated"))
    pose = element.findtext("pose", "Unspecified")
    return VocObject(label, (x0, y0, x1, y1), difficult, truncated, pose, outline)


def _outline(element: ElementTree.Element) -> list[float] | None:
    """The polygon of an object, or the corners of its rotated box; None where it has neither."""
    if element.find("robndbox") is not None:
        cx, cy, w, h, turn = _numbers(element, "robndbox", ("cx", "cy", "w", "h", "angle"))
        edges = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
        return rectangle(*edges, math.degrees(turn))
    polygon = element.find("polygon")
    if polygon is None:
        return None
    points = polygon.findall("pt")
    if points:
        return [v for point in points for v in _numbers(point, "", ("x", "y"))]
    # Roboflow numbers the corners from 1.
    count = sum(child.tag[:1] == "x" and child.tag[1:].isdecimal() for child in polygon)
    keys = [f"{axis}{number}" for number in range(1, count + 1) for axis in "xy"]
    return _numbers(polygon, "", keys) or None


def _numbers(element: ElementTree.Element, inside: str, keys: Iterable[str]) -> list[float]:
    """The numbers of some children; a few programs write a decimal comma."""
    place = f"{inside}/" if inside else ""
    texts = (element.findtext(f"{place}{key}") or "" for key in keys)
    return [float(text.replace(",", ".")) for text in texts]


def _mark(text: str | None) -> int:
    """A mark as 0 or 1; tools write it as a number or in words ("Unspecified", "True")."""
    text = (text or "").strip().lower()
    try:
        return int(float(text) > 0)
    except ValueError:
        return int(text in ("true", "yes", "y", "t"))
