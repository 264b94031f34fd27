"""LabelMe: one JSON of shapes an image."""

import json
import logging
import math
from pathlib import Path, PureWindowsPath
from typing import Any

from d2lite.data.datasets.image_finder import IMAGE_ENDINGS
from d2lite.data.datasets.image_sizes import size_or_record_fault
from d2lite.data.faults import FaultLog, reading_faults
from d2lite.structures import BoxMode
from d2lite.utils.errors import DataError

from .source import find_path

logger = logging.getLogger(__name__)

# A circle becomes a polygon; with so many corners its area is 0.6 % too small.
_CIRCLE_CORNERS = 32


class LabelMeSource:
    """A folder of LabelMe files, subfolders included."""

    evaluator_type = "coco"

    def __init__(self, path: str) -> None:
        """Find the folder.

        Args:
            path: the folder.
        """
        self._folder = find_path(path, suits=lambda place: any(place.rglob("*.json")))
        self._files: list[tuple[Path, dict[str, Any]]] | None = None
        self._broken: list[tuple[Path, str]] = []

    def metadata(self) -> dict[str, Any]:
        """Nothing: evaluation reads the dataset dicts."""
        return {}

    def classes(self) -> list[str]:
        """All labels, sorted."""
        shapes = (shape for _, content in self._read() for shape in content["shapes"])
        return sorted({str(shape.get("label")) for shape in shapes})

    def category_ids(self) -> None:
        """None: results are identified by class numbers."""

    def load(self) -> list[dict[str, Any]]:
        """One dict an image.

        Raises:
            DataError: if the folder has no LabelMe files, or one is broken.
            MissingFileError: if an image is not there.
        """
        index_of = {label: index for index, label in enumerate(self.classes())}
        records = []
        with reading_faults(str(self._folder)) as faults:
            for path, why in self._broken:
                faults.add("unreadable_annotations", f"{path}: {why}")
            for number, (path, content) in enumerate(self._read(), start=1):
                image = _image_of(path, content)
                size: tuple[Any, Any] | None
                size = content.get("imageHeight"), content.get("imageWidth")
                if not all(size):
                    size = size_or_record_fault(image, faults)
                if size is None:
                    continue
                records.append(
                    {
                        "file_name": str(image),
                        "image_id": number,
                        "height": int(size[0]),
                        "width": int(size[1]),
                        "annotations": _objects(content["shapes"], index_of, path, faults),
                    }
                )
        logger.info("%s: %d images in LabelMe's format", self._folder, len(records))
        return records

    def _read(self) -> list[tuple[Path, dict[str, Any]]]:
        """Each LabelMe file and its content without the embedded image."""
        if self._files is None:
            found = []
            for path in sorted(self._folder.rglob("*.json")):
                try:
                    content = json.loads(path.read_bytes())
                except ValueError as err:
                    self._broken.append((path, f"not valid JSON: {err}"))
                    continue
                if isinstance(content, dict) and isinstance(content.get("shapes"), list):
                    content.pop("imageData", None)
                    found.append((path, content))
            if not found:
                broken = f" ({len(self._broken)} are broken)" if self._broken else ""
                raise DataError(
                    f"{self._folder} has no LabelMe files{broken}: expected .json files with a "
                    "list 'shapes', one an image."
                )
            self._files = found
        return self._files


def _image_of(path: Path, content: dict[str, Any]) -> Path:
    """The image that a file belongs to: by its imagePath, else by its own name."""
    tried = [path.with_suffix(ending) for ending in IMAGE_ENDINGS]
    said = content.get("imagePath")
    if said:
        # A Windows path splits at both kinds of slash.
        parts = PureWindowsPath(str(said))
        tried = [path.parent / parts.as_posix(), path.parent / parts.name, *tried]
    return next((image for image in tried if _is(image)), tried[0])


def _is(image: Path) -> bool:
    return image.suffix.lower() in IMAGE_ENDINGS and image.is_file()


def _objects(
    shapes: list[dict[str, Any]], index_of: dict[str, int], path: Path, faults: FaultLog
) -> list[dict[str, Any]]:
    """Shapes of one label and one group are the parts of one object."""
    parts: dict[Any, tuple[str, list[list[float]]]] = {}
    for place, shape in enumerate(shapes):
        outline = _outline(shape)
        if outline is None:
            what = str(shape.get("shape_type") or "polygon")
            kind = "few_points" if what == "polygon" else "no_area"
            faults.add(kind, f"{path}: shape {place}, a {what} that has no area")
            continue
        label, group = str(shape.get("label")), shape.get("group_id")
        key = ("alone", place) if group is None else (label, group)
        parts.setdefault(key, (label, []))[1].append(outline)
    objects = []
    for label, polygons in parts.values():
        xs = [x for polygon in polygons for x in polygon[0::2]]
        ys = [y for polygon in polygons for y in polygon[1::2]]
        objects.append(
            {
                "category_id": index_of[label],
                "bbox": [min(xs), min(ys), max(xs), max(ys)],
                "bbox_mode": BoxMode.XYXY_ABS,
                "segmentation": polygons,
            }
        )
    return objects


def _outline(shape: dict[str, Any]) -> list[float] | None:
    """A flat polygon x0, y0, x1, y1, ...; None for points, lines and what is broken."""
    try:
        points = [(float(x), float(y)) for x, y in shape.get("points") or ()]
    except (TypeError, ValueError):
        return None
    kind = shape.get("shape_type") or "polygon"
    if kind == "rectangle" and len(points) >= 2:
        xs, ys = [x for x, _ in points], [y for _, y in points]
        left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
        points = [(left, top), (right, top), (right, bottom), (left, bottom)]
    elif kind == "circle" and len(points) == 2:
        (x, y), radius = points[0], math.dist(*points)
        turns = (2 * math.pi * i / _CIRCLE_CORNERS for i in range(_CIRCLE_CORNERS))
        points = [(x + radius * math.cos(t), y + radius * math.sin(t)) for t in turns]
    elif kind not in ("polygon", "oriented_rectangle"):
        return None
    if len(points) < 3 or not all(math.isfinite(v) for point in points for v in point):
        return None
    return [value for point in points for value in point]
