"""YOLO: a data.yaml, and beside each image a text file of boxes or polygons in shares of its size.

A line is "class x y width height" (centre and size of a box) or "class x0 y0 x1 y1 x2 y2 ..."
(a polygon of three points or more).
"""

import logging
from pathlib import Path
from typing import Any

import yaml

from d2lite.data.faults import FaultLog, reading_faults
from d2lite.structures import BoxMode
from d2lite.utils.errors import ConfigError, DataError

from .source import IMAGE_ENDINGS, find_path, images_below, no_such_path, size_or_record_fault

logger = logging.getLogger(__name__)

# Split asked for -> keys of data.yaml that may hold it.
_KEYS = {"val": ("val", "valid", "validation"), "valid": ("val", "valid", "validation")}


def read_data_yaml(path: Path) -> dict[str, Any]:
    """The content of a data.yaml, whose "names" is a list or a mapping from numbers.

    Raises:
        DataError: if it is not such a file.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise DataError(f"{path} is not valid YAML: {err}.") from err
    names = content.get("names") if isinstance(content, dict) else None
    if not isinstance(names, list | dict) or not names:
        raise DataError(
            f"{path} is not a data.yaml of a YOLO dataset: it needs 'names' (a list of class "
            "names, or a mapping from number to name) and 'train' and 'val' (image folders)."
        )
    return content


class YoloSource:
    """One split of a data.yaml."""

    evaluator_type = "coco"

    def __init__(self, path: str, split: str | None) -> None:
        """Find the file; images are listed by `load`.

        Args:
            path: of data.yaml, or the folder that holds it.
            split: "train" where None.
        """
        self._file = _data_yaml(find_path(path, suits=lambda place: _data_yaml(place).is_file()))
        if not self._file.is_file():
            raise no_such_path(path, [self._file])
        self._content = read_data_yaml(self._file)
        split = split or "train"
        keys = _KEYS.get(split, (split,))
        self._entry = next((self._content[k] for k in keys if self._content.get(k)), None)
        if self._entry is None:
            known = [k for k in ("train", "val", "valid", "test") if self._content.get(k)]
            raise ConfigError(
                f"{self._file} has no split {split!r}; it has {', '.join(known) or 'none'}."
            )
        names = self._content["names"]
        # Numbers may have gaps; the label files count by them, and so does everything else not.
        pairs = enumerate(names) if isinstance(names, list) else sorted(names.items(), key=_by_key)
        self._names = {str(number): str(name) for number, name in pairs}

    def metadata(self) -> dict[str, Any]:
        """Nothing: evaluation reads the dataset dicts."""
        return {}

    def classes(self) -> list[str]:
        """The names of data.yaml."""
        return list(self._names.values())

    def category_ids(self) -> None:
        """None: results are identified by class numbers."""

    def load(self) -> list[dict[str, Any]]:
        """One dict an image; an image without a label file has no objects."""
        images = self._images()
        records = []
        with reading_faults(str(self._file)) as faults:
            reader = _LabelReader(self._names, faults)
            for number, image in enumerate(images, start=1):
                size = size_or_record_fault(image, faults)
                if size is None:
                    continue
                records.append(
                    {
                        "file_name": str(image),
                        "image_id": number,
                        "height": size[0],
                        "width": size[1],
                        "annotations": reader.read(_label_file(image), *size),
                    }
                )
        logger.info("%s: %d images in YOLO's format", self._file, len(records))
        if reader.num_without:
            logger.info(
                "%s: %d of %d images have no label file and count as images without objects.",
                self._file,
                reader.num_without,
                len(images),
            )
        return records

    def _images(self) -> list[Path]:
        entries = self._entry if isinstance(self._entry, list) else [self._entry]
        images = [image for entry in entries for image in self._listed(self._place(str(entry)))]
        if not images:
            raise DataError(f"{self._file}: no images in {', '.join(map(str, entries))}.")
        return images

    def _place(self, entry: str) -> Path:
        """Where a split's images are; tools write the path from many folders."""
        root = str(self._content.get("path") or "")
        home = self._file.parent
        # Roboflow writes ../train/images for a folder that is beside data.yaml.
        plain = entry.replace("\\", "/")
        while plain.startswith(("../", "./")):
            plain = plain.partition("/")[2]
        tried = [home / root / entry, home / entry, Path(root) / entry, home / plain]
        for place in tried:
            if place.exists():
                return place
        return find_path(str(Path(root) / entry), beside=home)

    def _listed(self, place: Path) -> list[Path]:
        if place.is_dir():
            return images_below(place)
        if place.suffix.lower() in IMAGE_ENDINGS:
            return [place]
        lines = [line.strip() for line in place.read_text(encoding="utf-8").splitlines()]
        # Path(a) / b is b where b is absolute.
        return [place.parent / line for line in lines if line]


def _data_yaml(place: Path) -> Path:
    return place / "data.yaml" if place.is_dir() else place


def _by_key(pair: tuple[Any, Any]) -> tuple[int, str]:
    text = str(pair[0])
    return (int(text) if text.lstrip("-").isdigit() else 0, text)


def _label_file(image: Path) -> Path:
    """The text of an image: the last folder "images" of the path becomes "labels"."""
    parts = list(image.parts)
    for place in reversed(range(len(parts) - 1)):
        if parts[place] == "images":
            parts[place] = "labels"
            return Path(*parts).with_suffix(".txt")
    return image.with_suffix(".txt")


class _LabelReader:
    """Reads label files and counts what cannot be used."""

    def __init__(self, names: dict[str, str], faults: FaultLog) -> None:
        self.num_without = 0
        self._index_of = {number: index for index, number in enumerate(names)}
        # A few tools write the class's name in place of its number.
        self._index_of |= {
            name: index for index, name in enumerate(names.values()) if name not in self._index_of
        }
        self._faults = faults

    def read(self, path: Path, height: int, width: int) -> list[dict[str, Any]]:
        """The objects of one image."""
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            self.num_without += 1
            return []
        objects = []
        for number, line in enumerate(lines, start=1):
            if line.strip():
                where = f"{path}, line {number}"
                obj = self._object(line.split(), height, width, where)
                objects += [obj] if obj else []
        return objects

    def _object(
        self, words: list[str], height: int, width: int, where: str
    ) -> dict[str, Any] | None:
        label, *numbers = words
        index = self._index_of.get(label)
        if index is None and label.replace(".", "", 1).isdigit():
            index = self._index_of.get(str(int(float(label))))
        if index is None:
            known = f"{where} has the class {label!r}; data.yaml knows {', '.join(self._index_of)}"
            self._faults.refuse("unknown_category", known, DataError(f"{known}."))
            return None
        try:
            values = [float(number) for number in numbers]
        except ValueError:
            self._faults.add("malformed", f"{where}: values that are not numbers")
            return None
        if len(values) == 4:
            x, y, w, h = values
            box = [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
            return {"category_id": index, "bbox": box, "bbox_mode": BoxMode.XYWH_ABS}
        if len(values) < 6 or len(values) % 2:
            kind = "few_points" if len(values) > 1 else "malformed"
            self._faults.add(kind, f"{where}: {len(values)} values after the class")
            return None
        xs = [x * width for x in values[0::2]]
        ys = [y * height for y in values[1::2]]
        return {
            "category_id": index,
            "bbox": [min(xs), min(ys), max(xs), max(ys)],
            "bbox_mode": BoxMode.XYXY_ABS,
            "segmentation": [[value for point in zip(xs, ys, strict=True) for value in point]],
        }
