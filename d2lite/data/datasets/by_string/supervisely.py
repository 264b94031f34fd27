"""Supervisely: meta.json, and in each dataset a folder of images and one of a JSON an image."""

import base64
import io
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from d2lite.data.datasets.geometry import drawn, empty_mask
from d2lite.data.datasets.label_files import read_json
from d2lite.data.records.faults import FaultLog
from d2lite.structures.masks import rle
from d2lite.utils.errors import ConfigError, UserError

from .entries import MALFORMED, Entry, EntrySource, Shape
from .file_kinds import visible
from .source import find_path

_MAX_BITMAP_BYTES = 2**26


def supervisely_datasets(folder: Path) -> list[str]:
    """The datasets of a project's folder; [""] where the folder itself is one."""
    if not (folder / "meta.json").is_file():
        return []
    below = [p.name for p in sorted(folder.iterdir()) if (p / "ann").is_dir()]
    return below or ([""] if (folder / "ann").is_dir() else [])


class SuperviselySource(EntrySource):
    """One dataset of a project, or all of them."""

    layout = "Supervisely"

    def __init__(self, path: str, dataset: str | None) -> None:
        """Find the project.

        Args:
            path: the folder with meta.json.
            dataset: the name of a folder in it; None for all.

        Raises:
            ConfigError: if there is no such dataset.
        """
        root = find_path(path, suits=lambda place: bool(supervisely_datasets(place)))
        known = supervisely_datasets(root)
        if not known or (dataset is not None and dataset not in known):
            raise ConfigError(
                f"supervisely:{path} has no dataset {dataset or ''!r}; it has "
                f"{', '.join(known) or 'no meta.json with a folder of ann/ and img/'}."
            )
        self._datasets = [root / name for name in ([dataset] if dataset else known)]
        super().__init__(root, [place / "img" for place in self._datasets])

    def class_names(self) -> Sequence[str]:
        """The classes of meta.json that have an area, in its order."""
        classes = read_json(self.file / "meta.json").get("classes") or ()
        kinds = {"rectangle", "polygon", "bitmap", "any", None}
        return [str(c["title"]) for c in classes if c.get("shape") in kinds]

    def read_entries(self, faults: FaultLog) -> list[Entry]:
        """The images of the datasets, by name."""
        entries = []
        for place in self._datasets:
            for file in visible(place / "ann", "*.json"):
                name = file.name[: -len(".json")]
                try:
                    content = read_json(file)
                    objects, size = content["objects"], content["size"]
                    entry = Entry(name, size=(int(size["height"]), int(size["width"])))
                except (UserError, *MALFORMED) as err:
                    faults.add("unreadable_annotations", f"{file}: {err}")
                    continue
                image = place / "img" / name
                entry.path = image if image.is_file() else None
                for number, obj in enumerate(objects):
                    shape = _shape(obj, entry.size or (0, 0), f"{file}: object {number}", faults)
                    entry.shapes += [shape] if shape else []
                entries.append(entry)
        return entries


def _shape(obj: Any, size: tuple[int, int], where: str, faults: FaultLog) -> Shape | None:
    label, kind = "", None
    try:
        label, kind = str(obj["classTitle"]), obj.get("geometryType")
        if kind is None:  # files of old versions
            points = (obj.get("points") or {}).get("exterior") or ()
            kind = (
                "bitmap"
                if obj.get("bitmap")
                else {0: None, 2: "rectangle"}.get(len(points), "polygon")
            )
        if kind == "bitmap":
            return Shape(label, mask=rle.encode(_bitmap(obj["bitmap"], size)), where=where)
        points = [(float(x), float(y)) for x, y in obj["points"]["exterior"]]
        if kind == "rectangle":
            xs, ys = zip(*points, strict=True)
            # Both corners are pixels of the object.
            return Shape(label, [min(xs), min(ys), max(xs) + 1, max(ys) + 1], where=where)
        if kind == "polygon":
            return _polygon(label, points, obj["points"].get("interior") or (), size, where)
    except (*MALFORMED, zlib.error, OSError, SyntaxError) as err:
        return Shape(label, where=f"{where} ({err})", fault="malformed")
    faults.add("no_area", f"{where}, a {kind}")
    return None


def _polygon(
    label: str, points: list[Any], holes: Sequence[Any], size: tuple[int, int], where: str
) -> Shape:
    outline = [value for point in points for value in point]
    if not holes:
        return Shape(label, polygons=[outline], where=where)
    mask = drawn([outline], size)
    for hole in holes:
        mask &= ~drawn([[float(value) for point in hole for value in point]], size)
    return Shape(label, mask=rle.encode(mask), where=where)


def _bitmap(bitmap: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    """A PNG, compressed and in base64, laid on the image at its origin."""
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(base64.b64decode(bitmap["data"]), _MAX_BITMAP_BYTES)
    with Image.open(io.BytesIO(data)) as image:
        if image.width > size[1] or image.height > size[0]:
            raise ValueError(f"a bitmap of {image.width} x {image.height} pixels")
        # The mask is the transparency where there is one, else whatever is not black.
        part = np.asarray(image.getchannel("A") if "A" in image.getbands() else image.convert("L"))
    left, top = (int(value) for value in bitmap["origin"])
    mask = empty_mask(size)
    window = mask[top : top + part.shape[0], left : left + part.shape[1]]
    if left < 0 or top < 0 or window.shape != part.shape:
        raise ValueError("the bitmap reaches beyond the image")
    window |= part > 0
    return mask
