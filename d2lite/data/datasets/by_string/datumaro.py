"""Datumaro's own format: annotations/SPLIT.json with categories and items."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from d2lite.data.datasets.geometry import ellipse, rectangle
from d2lite.data.datasets.label_files import read_json
from d2lite.data.records.faults import FaultLog
from d2lite.structures.masks import rle
from d2lite.utils.errors import DataError

from .entries import MALFORMED, Entry, EntrySource, Shape
from .parts import join_parts
from .source import find_path

_NO_AREA = {"label", "caption", "polyline", "feature_vector", "cuboid_3d", "cuboid_2d", "tabular"}


def is_datumaro_content(content: Any) -> bool:
    """Whether the content of a JSON file is Datumaro's."""
    return isinstance(content, dict) and {"categories", "items"} <= content.keys()


class DatumaroSource(EntrySource):
    """One JSON file and images/SPLIT beside its folder."""

    layout = "Datumaro"

    def __init__(self, path: str, image_root: str | None) -> None:
        """Find the file.

        Args:
            path: of the JSON.
            image_root: folder of the images; None looks around the file.
        """
        file = find_path(path, suits=Path.is_file)
        home = file.parent.parent
        folders = [find_path(image_root, beside=home)] if image_root else []
        images = home / "images"
        super().__init__(file, [*folders, images / file.stem, images, file.parent])
        self._labels: list[str] = []
        self._points: dict[int, list[str]] = {}

    def class_names(self) -> Sequence[str] | None:
        """The labels of the file in their order, without the parts of skeletons."""
        return [name for name in self._labels if name]

    def keypoint_names(self) -> Sequence[str]:
        """The points of the labels, in their order."""
        names = [name for points in self._points.values() for name in points]
        return list(dict.fromkeys(names)) or super().keypoint_names()

    def read_entries(self, faults: FaultLog) -> list[Entry]:
        """The items in the order of the file."""
        content = read_json(self.file)
        if not is_datumaro_content(content):
            raise DataError(f"{self.file} is not Datumaro's: expected 'categories' and 'items'.")
        labels = (content["categories"].get("label") or {}).get("labels") or []
        names = [str(label["name"]) for label in labels]
        self._points = {}
        for item in (content["categories"].get("points") or {}).get("items") or ():
            points = [str(name) for name in item.get("labels") or ()]
            self._points[int(item["label_id"])] = points
        skeletons = {names[number] for number in self._points}
        # The parts of a skeleton are labels too, whose parent it is; they are not classes.
        self._labels = [
            "" if label.get("parent") in skeletons else name
            for label, name in zip(labels, names, strict=True)
        ]
        return self.read_each(content["items"], lambda item: self._item(item, faults), faults)

    def _item(self, item: dict[str, Any], faults: FaultLog) -> Entry:
        image = item.get("image") or {}
        name = str(image.get("path") or item.get("id"))
        size = image.get("size")
        entry = Entry(name, size=(int(size[0]), int(size[1])) if size else None)
        for place, annotation in enumerate(item.get("annotations") or ()):
            where = f"{self.file}: item {item.get('id')}, annotation {place}"
            kind = str(annotation.get("type")) if isinstance(annotation, dict) else ""
            if kind in _NO_AREA:
                if kind not in ("label", "caption"):
                    faults.add("no_area", f"{where}, a {kind}")
                continue
            try:
                shape = self._shape(kind, annotation)
                number = int(annotation["label_id"])
                shape.label = self._labels[number]
                shape.is_crowd = bool((annotation.get("attributes") or {}).get("is_crowd"))
                shape.group = int(annotation.get("group") or 0)
            except MALFORMED as err:
                shape = Shape("", where=f"{where} ({err})", fault="malformed")
            shape.where = shape.where or where
            entry.shapes.append(shape)
        entry.shapes = join_parts(entry.shapes)
        return entry

    def _shape(self, kind: str, annotation: dict[str, Any]) -> Shape:
        if kind == "bbox":
            x, y, w, h = (float(value) for value in annotation["bbox"])
            degrees = float((annotation.get("attributes") or {}).get("rotation", 0))
            if degrees:
                return Shape("", polygons=[rectangle(x, y, x + w, y + h, degrees)])
            return Shape("", [x, y, x + w, y + h])
        if kind == "rotated_bbox":
            cx, cy, w, h, degrees = (
                float(annotation[key]) for key in ("cx", "cy", "width", "height", "rotation")
            )
            corners = rectangle(cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2, degrees)
            return Shape("", polygons=[corners])
        if kind == "polygon":
            return Shape("", polygons=[[float(value) for value in annotation["points"]]])
        if kind == "ellipse":
            x0, y0, x1, y1 = (float(value) for value in annotation["points"])
            outline = ellipse((x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2, (y1 - y0) / 2)
            return Shape("", polygons=[outline])
        if kind == "mask":
            code = annotation["rle"]
            return Shape("", mask=rle.compressed({"counts": code["counts"], "size": code["size"]}))
        if kind == "points":
            values = [float(value) for value in annotation["points"]]
            visible = annotation.get("visibility") or [2] * (len(values) // 2)
            names = self._points.get(int(annotation["label_id"])) or [
                str(i) for i in range(len(visible))
            ]
            places = zip(names, values[0::2], values[1::2], visible, strict=False)
            return Shape("", keypoints={name: (x, y, int(v)) for name, x, y, v in places})
        raise ValueError(f"a shape of type {kind!r}")
