"""LabelMe and X-AnyLabeling: one JSON of shapes an image.

Shapes of one label and one group id are the parts of one object. Points whose group id is that of
an object are its keypoints, named by their labels. Rectangles are boxes; polygons, circles, turned
rectangles and masks (a PNG in base64) are outlines or masks.
"""

import base64
import contextlib
import hashlib
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image

from d2lite.data.datasets.geometry import drawn, ellipse
from d2lite.data.datasets.image_finder import IMAGE_ENDINGS, ImageFinder
from d2lite.data.datasets.label_files import read_json, read_lines, read_text
from d2lite.data.records.faults import FaultLog
from d2lite.data.records.image_sizes import image_size
from d2lite.structures.masks import rle
from d2lite.utils.errors import DataError, MissingFileError
from d2lite.utils.file_io import cache_dir

from .entries import Entry, EntrySource, Shape
from .file_kinds import visible_below
from .kept_images import kept_image
from .source import find_path

CLASS_LIST = "labels.txt"
"""A list of all classes, one a line, in the folder or in the one above, as LabelMe uses it."""

_OUTLINES = ("polygon", "oriented_rectangle", "rotation", "quadrilateral")


class LabelMeSource(EntrySource):
    """A folder of LabelMe files, subfolders included."""

    layout = "LabelMe"

    def __init__(self, path: str) -> None:
        """Find the folder."""
        folder = find_path(path, suits=lambda place: bool(visible_below(place, ".json")))
        super().__init__(folder, [folder, folder.parent / "images"])

    def class_names(self) -> Sequence[str] | None:
        """The lines of labels.txt, where it has all labels that occur."""
        labels = self.labels()
        for path in (self.file / CLASS_LIST, self.file.parent / CLASS_LIST):
            if path.is_file():
                names = [n for n in dict.fromkeys(read_lines(path)) if not is_internal(n)]
                if labels <= set(names):
                    return names
        return None

    def read_entries(self, faults: FaultLog) -> list[Entry]:
        """The images in the order of the files' paths."""
        entries, broken = [], []
        finder = ImageFinder(self.folders)
        for path in visible_below(self.file, ".json"):
            try:
                content = read_json(path)
            except (DataError, MissingFileError) as err:
                broken += [] if _is_json_lines(path) else [str(err)]
                continue
            if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
                continue
            image = _image_of(path, content, finder)
            if not image.is_file() and content.get("imageData"):
                embedded = _embedded(content["imageData"], path)
                if embedded is None:
                    broken.append(f"{path}: imageData is not an image, and {image} does not exist")
                    continue
                image = embedded
            size = _size(content) or _size_of(image)
            entry = Entry(path.name, path=image, size=size)
            entry.shapes = list(_objects(content["shapes"], size, path, faults))
            entries.append(entry)
        if not entries:
            found = f" ({len(broken)} are broken, as {broken[0]})" if broken else ""
            raise DataError(
                f"{self.file} has no LabelMe files{found}: expected .json files with a list "
                "'shapes', one an image."
            )
        for why in broken:
            faults.add("unreadable_annotations", why)
        return entries


def _is_json_lines(path: Path) -> bool:
    """Whether a file has JSON in each line, as the metrics of a run have."""
    try:
        json.loads(read_text(path).partition("\n")[0])
    except (ValueError, RecursionError, MissingFileError):
        return False
    return True


def is_internal(label: str) -> bool:
    """Whether a label is not a class but one of LabelMe's own, as __ignore__ and _background_."""
    return label.startswith("__") or label == "_background_"


def _size(content: dict[str, Any]) -> tuple[int, int] | None:
    try:
        size = int(float(content["imageHeight"])), int(float(content["imageWidth"]))
        return size if min(size) > 0 else None
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _size_of(image: Path) -> tuple[int, int] | None:
    try:
        return image_size(image)
    except (DataError, MissingFileError):
        return None  # reported when the image itself is loaded


def _image_of(path: Path, content: dict[str, Any], finder: ImageFinder) -> Path:
    """The image that a file belongs to: by its imagePath, else by its own name."""
    tried = [path.with_suffix(ending) for ending in IMAGE_ENDINGS]
    stated = str(content.get("imagePath") or "")
    if stated:
        # A Windows path splits at both kinds of slash.
        parts = PureWindowsPath(stated)
        tried = [path.parent / parts.as_posix(), path.parent / parts.name, *tried]
    exact = (p for p in tried if p.suffix.lower() in IMAGE_ENDINGS and p.is_file())
    below = path.relative_to(finder.folders[0]).parent
    names = (below / PureWindowsPath(stated).name, below / path.stem)
    others = (finder.find(str(name)) for name in names)
    return next(exact, None) or next(filter(None, others), tried[0])


def _embedded(text: Any, path: Path) -> Path | None:
    """The image that LabelMe keeps in its file by default; None if it is not one."""
    folder = cache_dir() / "labelme" / hashlib.blake2b(str(path.parent).encode()).hexdigest()[:16]
    with contextlib.suppress(TypeError, ValueError, OSError, SyntaxError):
        return kept_image(base64.b64decode(text), folder, path.stem)
    return None


@dataclass
class _Parts:
    """What belongs to one object."""

    label: str
    where: str
    box: list[float] | None = None
    polygons: list[list[float]] = field(default_factory=list)
    masks: list[tuple[int, int, np.ndarray]] = field(default_factory=list)
    keypoints: dict[str, tuple[float, float, int]] = field(default_factory=dict)

    def add(self, kind: str, points: list[tuple[float, float]], shape: dict[str, Any]) -> None:
        """Add a shape that has an area.

        Raises:
            ValueError: if it is not such a shape.
        """
        if kind == "mask":
            self.masks.append(_mask(points, shape))
            return
        outline = _outline(kind, points)
        is_first = not self.polygons
        self.polygons.append(outline)
        is_box = kind == "rectangle" and is_first
        self.box = [*outline[0:2], *outline[4:6]] if is_box else None

    def shape(self, size: tuple[int, int] | None) -> Shape:
        """The object; a lone rectangle is a box without a mask."""
        found = Shape(self.label, keypoints=self.keypoints, where=self.where)
        if self.masks:
            with contextlib.suppress(ValueError):
                found.mask = self._drawn(size)
            found.fault = "" if found.mask else "bad_mask"
        elif self.box:
            found.box = self.box
        else:
            found.polygons = self.polygons
        return found

    def _drawn(self, size: tuple[int, int] | None) -> dict[str, Any] | None:
        """The union of masks and polygons; None where they are outside of the image."""
        if size is None:
            return None
        whole = drawn(self.polygons, size)
        for left, top, part in self.masks:
            inner = part[max(-top, 0) :, max(-left, 0) :]
            window = whole[max(top, 0) :, max(left, 0) :][: inner.shape[0], : inner.shape[1]]
            window |= inner[: window.shape[0], : window.shape[1]]
        return rle.encode(whole) if whole.any() else None


def _objects(
    shapes: list[Any], size: tuple[int, int] | None, path: Path, faults: FaultLog
) -> Iterable[Shape]:
    """The objects of one image, each of one shape or several."""
    found: dict[Any, _Parts] = {}
    points: list[tuple[Any, str, tuple[float, float, int], str]] = []
    for place, shape in enumerate(shapes):
        where = f"{path}: shape {place}"
        try:
            label, kind = str(shape["label"]).strip(), str(shape.get("shape_type") or "polygon")
            corners = [(float(x), float(y)) for x, y in shape.get("points") or ()]
            if shape["label"] is None or not label or not np.isfinite(corners).all():
                raise ValueError("no label, or coordinates that are not numbers")
        except (KeyError, TypeError, ValueError, AttributeError) as err:
            yield Shape("", where=f"{where} ({err})", fault="malformed")
            continue
        if is_internal(label):
            continue
        group = shape.get("group_id")
        if kind == "point" and group is not None and len(corners) == 1:
            # X-AnyLabeling marks hidden keypoints as difficult.
            points.append((group, label, (*corners[0], 1 if shape.get("difficult") else 2), where))
            continue
        key = ("alone", place) if group in (None, "") else (str(group), label)
        parts = found.setdefault(key, _Parts(label, where))
        try:
            parts.add(kind, corners, shape)
        except (TypeError, ValueError) as err:
            if not (parts.polygons or parts.masks):
                del found[key]
            if kind == "mask":
                yield Shape(label, where=f"{where} ({err})", fault="bad_mask")
            else:
                fault = "few_points" if kind == "polygon" else "no_area"
                faults.add(fault, f"{where}, a {kind} that has no area")
    for group, name, point, where in points:
        owner = next((p for key, p in found.items() if key[0] == str(group)), None)
        if owner is None or name in owner.keypoints:
            faults.add("no_area", f"{where}, a point that has no area")
        else:
            owner.keypoints[name] = point
    yield from (parts.shape(size) for parts in found.values())


def _outline(kind: str, points: list[tuple[float, float]]) -> list[float]:
    """A flat polygon x0, y0, x1, y1, ...

    Raises:
        ValueError: if the shape has no area.
    """
    if kind == "rectangle" and len(points) >= 2:
        xs, ys = [x for x, _ in points], [y for _, y in points]
        left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
        points = [(left, top), (right, top), (right, bottom), (left, bottom)]
    elif kind == "circle" and len(points) == 2:
        (x, y), radius = points[0], math.dist(*points)
        return ellipse(x, y, radius, radius)
    elif kind not in _OUTLINES:
        raise ValueError(f"a {kind}")
    if len(points) < 3:
        raise ValueError(f"{len(points)} points")
    return [value for point in points for value in point]


def _mask(points: list[tuple[float, float]], shape: dict[str, Any]) -> tuple[int, int, np.ndarray]:
    """Left, top and the (H, W) bool array of a PNG in base64, whose first corner is points[0]."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(shape["mask"]))) as image:
            part = np.asarray(image.convert("L") if image.mode not in ("1", "I") else image) > 0
    except (KeyError, OSError, SyntaxError, Image.DecompressionBombError) as err:
        raise ValueError(f"the mask cannot be read: {err}") from err
    if not points or not part.any():
        raise ValueError("the mask is empty")
    left, top = (round(value) for value in points[0])
    return left, top, part
