"""VGG Image Annotator (VIA): JSON of versions 1, 2 and 3, and the CSV of version 2."""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from d2lite.data.datasets.geometry import ellipse
from d2lite.data.datasets.label_files import read_json, read_text
from d2lite.data.records.faults import FaultLog
from d2lite.utils.errors import DataError

from .entries import MALFORMED, Entry, FileSource, Shape

# Attributes of a region that name its class, in the order in which they are tried.
_CLASS_KEYS = ("class", "label", "name", "category", "type", "object")
# Version 3 numbers its shapes.
_SHAPES_3 = {2: "rect", 3: "circle", 4: "ellipse", 7: "polygon"}


def is_via_content(content: Any) -> bool:
    """Whether the content of a JSON file is one of VIA's."""
    if not isinstance(content, dict) or not content:
        return False
    if "_via_img_metadata" in content or {"metadata", "file", "view"} <= content.keys():
        return True
    first = next(iter(content.values()))
    return isinstance(first, dict) and {"filename", "regions"} <= first.keys()


class ViaSource(FileSource):
    """One JSON or CSV file and the images beside it."""

    layout = "VIA"

    def __init__(self, path: str, image_root: str | None) -> None:
        super().__init__(path, image_root)
        self._options: list[str] = []

    def class_names(self) -> Sequence[str] | None:
        """The options of the class's attribute, where the project defines them."""
        labels = self.labels()
        known = [name for name in self._options if name in labels]
        return known if known and labels <= set(known) else None

    def read_entries(self, faults: FaultLog) -> list[Entry]:
        """The images, in the order of the file."""
        self._options = []
        images = self._csv() if self.file.suffix.lower() == ".csv" else self._json()
        key = _class_key(attributes for _, regions in images for _, attributes in regions)

        def read(image: tuple[str, list[Any]]) -> Entry:
            entry = Entry(image[0])
            for place, (shape, attributes) in enumerate(image[1]):
                where = f"{self.file}: image {entry.name}, region {place}"
                entry.shapes += _region(shape, _label(attributes.get(key)), where, faults)
            return entry

        return self.read_each(images, read, faults)

    def _json(self) -> list[tuple[str, list[Any]]]:
        content = read_json(self.file)
        if not is_via_content(content):
            raise DataError(
                f"{self.file} is not VIA's: expected '_via_img_metadata', or an entry with "
                "'filename' and 'regions' for each image."
            )
        if "view" in content and "_via_img_metadata" not in content:
            return self._version_3(content)
        for definition in (content.get("_via_attributes") or {}).get("region", {}).values():
            options = definition.get("options") if isinstance(definition, dict) else None
            self._options += list(options or ())
        images = content.get("_via_img_metadata", content)
        return [
            (str(image.get("filename")), [_parts(r) for r in _listed(image.get("regions"))])
            for image in images.values()
        ]

    def _version_3(self, content: dict[str, Any]) -> list[tuple[str, list[Any]]]:
        attributes = content.get("attribute") or {}
        names = {key: str(a.get("aname", key)) for key, a in attributes.items()}
        values = {key: a.get("options") or {} for key, a in attributes.items()}
        for options in values.values():
            self._options += [str(option) for option in options.values()]
        files = {key: str(f.get("fname") or f.get("src")) for key, f in content["file"].items()}
        regions: dict[str, list[Any]] = {
            view: [] for view, v in content["view"].items() if v.get("fid_list")
        }
        for region in content["metadata"].values():
            xy = region.get("xy") or []
            if not xy or region.get("vid") not in regions:
                continue  # a label of the whole file, or of a stretch of a video
            labels = {
                names.get(key, key): values.get(key, {}).get(str(value), value)
                for key, value in (region.get("av") or {}).items()
            }
            regions[region["vid"]].append((_shape_3(xy), labels))
        file_of = {view: str(content["view"][view]["fid_list"][0]) for view in regions}
        return [(files.get(file_of[view], ""), found) for view, found in regions.items()]

    def _csv(self) -> list[tuple[str, list[Any]]]:
        images: dict[str, list[Any]] = {}
        try:
            rows = list(csv.DictReader(io.StringIO(read_text(self.file))))
        except csv.Error as err:
            raise DataError(f"{self.file} is not a CSV file: {err}.") from err
        for number, row in enumerate(rows, start=2):
            row = {str(key).lstrip("#").strip(): value for key, value in row.items()}
            name = row.get("filename")
            if not name:
                raise DataError(f"{self.file}, line {number}: there is no column 'filename'.")
            regions = images.setdefault(name, [])
            try:
                shape = json.loads(row.get("region_shape_attributes") or "{}")
                attributes = json.loads(row.get("region_attributes") or "{}")
            except ValueError as err:
                raise DataError(f"{self.file}, line {number}: not JSON: {err}.") from err
            if shape:
                regions.append((shape, attributes))
        return list(images.items())


def _listed(regions: Any) -> list[Any]:
    # Version 1 numbers the regions as keys of an object.
    return list(regions.values()) if isinstance(regions, dict) else list(regions or ())


def _parts(region: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    found = (
        region.get(key) if isinstance(region, dict) else None
        for key in ("shape_attributes", "region_attributes")
    )
    shape, attributes = (part if isinstance(part, dict) else {} for part in found)
    return shape, attributes


def _class_key(attributes: Iterator[Mapping[str, Any]]) -> str:
    """The attribute that holds the class: by its name, else the one that most regions have."""
    counts: Counter[str] = Counter()
    for found in attributes:
        counts.update(found.keys())
    by_name = {key.casefold(): key for key in counts}
    for name in _CLASS_KEYS:
        if name in by_name:
            return by_name[name]
    return counts.most_common(1)[0][0] if counts else ""


def _label(value: Any) -> str:
    if isinstance(value, dict):  # boxes to tick: those that are
        value = ",".join(str(key) for key, is_ticked in value.items() if is_ticked)
    return str(value).strip() if value not in (None, "") else "object"


def _shape_3(xy: list[Any]) -> dict[str, Any]:
    kind = _SHAPES_3.get(int(xy[0]), f"shape {xy[0]}")
    values = [float(value) for value in xy[1:]]
    names = {
        "rect": ("x", "y", "width", "height"),
        "circle": ("cx", "cy", "r"),
        "ellipse": ("cx", "cy", "rx", "ry"),
    }.get(kind)
    if names:
        return {"name": kind, **dict(zip(names, values, strict=False))}
    return {"name": kind, "all_points_x": values[0::2], "all_points_y": values[1::2]}


def _region(shape: Mapping[str, Any], label: str, where: str, faults: FaultLog) -> Iterator[Shape]:
    kind = str(shape.get("name"))
    try:
        if kind in ("rect", "rectangle"):
            x, y, w, h = (float(shape[key]) for key in ("x", "y", "width", "height"))
            yield Shape(label, [x, y, x + w, y + h], where=where)
        elif kind in ("polygon", "polyline"):
            xs, ys = shape["all_points_x"], shape["all_points_y"]
            if kind == "polyline" and (xs[0], ys[0]) != (xs[-1], ys[-1]):
                faults.add("no_area", f"{where}, an open line")
                return
            outline = [float(v) for point in zip(xs, ys, strict=True) for v in point]
            yield Shape(label, polygons=[outline], where=where)
        elif kind in ("circle", "ellipse"):
            cx, cy = float(shape["cx"]), float(shape["cy"])
            rx = float(shape["r"] if kind == "circle" else shape["rx"])
            ry = rx if kind == "circle" else float(shape["ry"])
            # The angle of an ellipse is in radians.
            degrees = math.degrees(float(shape.get("theta", 0)))
            yield Shape(label, polygons=[ellipse(cx, cy, rx, ry, degrees)], where=where)
        else:
            faults.add("no_area", f"{where}, a {kind}")
    except MALFORMED as err:
        yield Shape(label, where=f"{where} ({err})", fault="malformed")
