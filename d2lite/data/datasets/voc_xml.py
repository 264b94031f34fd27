"""One XML file of Pascal VOC: the size of an image and its objects."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from d2lite.data.faults import FaultLog
from d2lite.utils.errors import DataError, MissingFileError

from .label_files import MAX_IMAGE_LABELS, read_xml
from .location import missing_file


class VocObject(NamedTuple):
    """One object of an annotation file.

    Attributes:
        name: its class.
        corners: xmin, ymin, xmax, ymax, in pixel indices that begin at 1 and include the last.
        difficult: 0 or 1.
        truncated: 0 or 1.
        pose: a word.
    """

    name: str
    corners: tuple[float, float, float, float]
    difficult: int
    truncated: int
    pose: str


def voc_labels(path: Path) -> set[str]:
    """The class names in one annotation file."""
    labels = {(o.findtext("name") or "").strip() for o in read_annotation(path).iter("object")}
    return labels - {""}


def read_annotation(path: Path) -> ElementTree.Element:
    """The root of one annotation file.

    Raises:
        MissingFileError: if it is not there.
        DataError: if it is not XML.
    """
    try:
        return read_xml(path, MAX_IMAGE_LABELS)
    except MissingFileError as err:
        raise missing_file("VOC annotations", path) from err


def stated_size(root: ElementTree.Element) -> tuple[int, int] | None:
    """(height, width) of the XML; None where it has none that can be."""
    try:
        height, width = (float(root.findtext(f"size/{side}") or 0) for side in ("height", "width"))
        return (int(height), int(width)) if min(height, width) >= 1 else None
    except (ValueError, OverflowError):
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
    for element in root.iter("object"):
        try:
            yield _read_object(element, path)
        except DataError as err:
            faults.refuse("malformed", str(err), err)


def _read_object(element: ElementTree.Element, path: Path) -> VocObject:
    label = (element.findtext("name") or "").strip()
    if not label:
        raise DataError(f"{path}: an object has no name.")
    edges = (element.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax"))
    try:
        x0, y0, x1, y1 = (float(edge or "") for edge in edges)
    except ValueError as err:
        raise DataError(f"{path}: the box of object {label!r} is incomplete: {err}.") from err
    difficult, truncated = (_mark(element.findtext(key)) for key in ("difficult", "truncated"))
    pose = element.findtext("pose", "Unspecified")
    return VocObject(label, (x0, y0, x1, y1), difficult, truncated, pose)


def _mark(text: str | None) -> int:
    """A mark as 0 or 1; tools write it as a number or in words ("Unspecified", "True")."""
    text = (text or "").strip().lower()
    try:
        return int(float(text) > 0)
    except ValueError:
        return int(text in ("true", "yes", "y", "t"))
