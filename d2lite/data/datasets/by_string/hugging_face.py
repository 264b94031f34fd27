"""Hugging Face `datasets`: a folder or a name of the hub, or a dataset that code has loaded.

Rows have an image and "objects": boxes and classes, as one dict of lists or a list of dicts.
Images inside of the tables are written into the cache folder once, so that workers, evaluation and
drawing read files as they do of every other set.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from d2lite.data.catalog import DatasetCatalog, MetadataCatalog
from d2lite.data.classes import OrderedLoader, select_classes
from d2lite.data.normal_forms import as_mask
from d2lite.data.records.faults import FaultLog
from d2lite.data.records.image_sizes import image_size
from d2lite.structures.masks import rle
from d2lite.utils.errors import ConfigError, DataError, MissingFileError, MissingPackageError
from d2lite.utils.file_io import cache_dir

from .entries import MALFORMED, Entry, EntrySource, Shape
from .hugging_face_files import OBJECT_KEYS, hugging_face_tables
from .kept_images import kept_image
from .source import find_path, is_there

BOX_KINDS = ("xywh", "xyxy")
"""What the four numbers of a box are, in pixels."""

_IMAGE_KEYS = ("image", "img", "picture")
_BOX_KEYS = ("bbox", "bboxes", "boxes", "box")
_CLASS_KEYS = ("category", "categories", "label", "labels", "class", "category_id", "name")
_MASK_KEYS = ("segmentation", "segmentations", "mask", "masks", "polygon", "polygons")
_SAME_SPLIT = {"val": "validation", "valid": "validation"}
# From this share of boxes beyond their image on, the boxes are not what they are taken for.
_MAX_SHARE_BEYOND = 0.1


class HuggingFaceSource(EntrySource):
    """The rows of one split, read one after the other: a stream is as good as a table."""

    layout = "Hugging Face"

    def __init__(self, rows: Any, where: str, boxes: str = "xywh") -> None:
        """Take the rows.

        Args:
            rows: a `datasets.Dataset` or `IterableDataset`.
            where: what they are, for messages and for the folder of their images.
            boxes: one of `BOX_KINDS`.

        Raises:
            ConfigError: if the rows have no images or no objects.
        """
        super().__init__(Path(where), [])
        self._rows, self._boxes = rows, boxes
        features = rows.features or dict.fromkeys(next(iter(rows), {}))
        self._image = next((key for key in _IMAGE_KEYS if key in features), "")
        self._objects = next((key for key in OBJECT_KEYS if key in features), "")
        if not self._image or not self._objects:
            raise ConfigError(
                f"{where} has the columns {', '.join(features)}; expected 'image', and 'objects' "
                "with 'bbox' and 'category'."
            )
        known = rows.features.to_dict() if rows.features else {}
        self._class_labels = _class_names(known.get(self._objects))
        if rows.features:
            # Without decoding, the bytes stay those of the file.
            self._rows = rows.cast_column(self._image, _package().Image(decode=False))

    def class_names(self) -> Sequence[str] | None:
        """The names that the dataset gives its classes, where it does."""
        return self._class_labels or None

    def read_entries(self, faults: FaultLog) -> list[Entry]:
        """The rows in their order.

        Raises:
            DataError: if many boxes are beyond their images.
        """
        folder = cache_dir() / "hf" / hashlib.blake2b(str(self.file).encode()).hexdigest()[:16]
        numbers = iter(range(10**9))

        def read(row: dict[str, Any]) -> Entry | None:
            return self._row(row, folder, next(numbers), faults)

        entries = self.read_each(self._rows, read, faults)
        beyond = total = 0
        for entry in entries:
            height, width = entry.size or (0, 0)
            boxes = [shape.box for shape in entry.shapes if shape.box]
            total += len(boxes)
            beyond += sum(x1 > width + 1 or y1 > height + 1 or x1 < x0 for x0, _, x1, y1 in boxes)
        if beyond > _MAX_SHARE_BEYOND * total:
            other = BOX_KINDS[self._boxes == "xywh"]
            raise DataError(
                f"{self.file}: {beyond} of {total} boxes reach beyond their images when read as "
                f"{self._boxes}. Write ?boxes={other} if they are that."
            )
        return entries

    def _row(
        self, row: dict[str, Any], folder: Path, number: int, faults: FaultLog
    ) -> Entry | None:
        where = f"{self.file}: row {number}"
        try:
            path = _image_file(row[self._image], folder, number)
            entry = Entry(path.name, path=path, size=image_size(path))
        except (OSError, SyntaxError, KeyError, TypeError, DataError) as err:
            faults.add("unreadable_image", f"{where} ({err})")
            return None
        for place, obj in enumerate(_one_by_one(row[self._objects])):
            entry.shapes.append(self._shape(obj, f"{where}, object {place}"))
        return entry

    def _shape(self, obj: dict[str, Any], where: str) -> Shape:
        try:
            a, b, c, d = (float(v) for v in next(obj[k] for k in _BOX_KEYS if k in obj))
            label = next((obj[k] for k in _CLASS_KEYS if k in obj), "object")
            if isinstance(label, int) and self._class_labels:
                label = dict(enumerate(self._class_labels))[label]
            shape = Shape(str(label), is_crowd=bool(obj.get("iscrowd")), where=where)
            shape.box = [a, b, c, d] if self._boxes == "xyxy" else [a, b, a + c, b + d]
            mask = as_mask(next((_pixels(obj[key]) for key in _MASK_KEYS if key in obj), None))
            if isinstance(mask, list):
                shape.polygons = mask
            elif mask is not None:
                shape.mask = rle.encode(mask != 0) if isinstance(mask, np.ndarray) else mask
            points = np.asarray(obj.get("keypoints") or (), dtype=float).reshape(-1, 3).tolist()
            shape.keypoints = {f"point {i}": (x, y, int(v)) for i, (x, y, v) in enumerate(points)}
        except (*MALFORMED, StopIteration, RecursionError, OSError) as err:
            return Shape("", where=f"{where} ({err})", fault="malformed")
        return shape

    def keypoint_names(self) -> list[str]:
        """Points by their number."""
        return [f"point {i}" for i in range(len(super().keypoint_names()))]


def _pixels(mask: Any) -> Any:
    """The array of a mask that is an image; other masks as they are."""
    if isinstance(mask, dict) and isinstance(mask.get("bytes"), bytes):
        mask = Image.open(io.BytesIO(mask["bytes"]))
    return np.asarray(mask.convert("L")) if isinstance(mask, Image.Image) else mask


def _class_names(feature: Any) -> list[str]:
    """The names of the ClassLabel at a key of classes, at any depth."""
    if not isinstance(feature, dict):
        return []
    for key in (*_CLASS_KEYS, "feature"):
        below = feature.get(key)
        while isinstance(below, dict) and "names" not in below and "feature" in below:
            below = below["feature"]
        if isinstance(below, dict) and below.get("names"):
            return [str(name) for name in below["names"]]
        if key == "feature" and below is not feature:
            return _class_names(below)
    return []


def _one_by_one(objects: Any) -> Iterator[dict[str, Any]]:
    """Each object, of a list of them or of a dict of lists."""
    if isinstance(objects, dict):
        keys = [key for key, values in objects.items() if isinstance(values, list)]
        rows = zip(*(objects[key] for key in keys), strict=True)
        yield from (dict(zip(keys, row, strict=True)) for row in rows)
    else:
        yield from objects or ()


def _image_file(image: Any, folder: Path, number: int) -> Path:
    """The file of an image: its own, or one written into a folder."""
    if isinstance(image, dict):
        data = image["bytes"]
        if data is None:
            return Path(image["path"])
    else:
        stream = io.BytesIO()
        image.save(stream, format="PNG")
        data = stream.getvalue()
    return kept_image(data, folder, f"{number:08d}")


def _package() -> Any:
    try:
        import datasets
    except ImportError as err:
        raise MissingPackageError(
            "Datasets of Hugging Face need a package: pip install 'd2lite[hf]'."
        ) from err
    return datasets


def find_hugging_face(path: str, split: str | None, boxes: str = "xywh") -> HuggingFaceSource:
    """The rows of a dataset string.

    Args:
        path: a folder of .parquet files, one that `save_to_disk` wrote, one with a
            metadata.jsonl, or a name of the hub.
        split: "train" where None; "val" is "validation".
        boxes: one of `BOX_KINDS`.

    Raises:
        MissingPackageError: if `datasets` is not installed.
        MissingFileError: if there is no such dataset.
        ConfigError: if it has no such split.
        DataError: if it cannot be read.
    """
    package = _package()
    try:
        found = _load(package, path)
    except FileNotFoundError as err:  # of the package, too
        raise MissingFileError(f"hf:{path} cannot be found: {err}") from err
    except (ConnectionError, OSError, ValueError, package.exceptions.DatasetsError) as err:
        raise DataError(f"hf:{path} cannot be read: {err}") from err
    if not isinstance(found, dict):
        found = {"train": found}
    wanted = split or ("train" if "train" in found else next(iter(found)))
    wanted = wanted if wanted in found else _SAME_SPLIT.get(wanted, wanted)
    if wanted not in found:
        raise ConfigError(f"hf:{path} has no split {split!r}; it has {', '.join(found)}.")
    return HuggingFaceSource(found[wanted], f"hf:{path}@{wanted}", boxes)


def _load(package: Any, path: str) -> Any:
    if not is_there(path):
        return package.load_dataset(path)
    folder = find_path(path, suits=Path.exists)
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return package.load_from_disk(str(folder))
    cache = str(cache_dir() / "hf")
    tables = hugging_face_tables(folder)
    if not tables:
        return package.load_dataset(str(folder), cache_dir=cache)
    return {
        split: package.Dataset.from_parquet(list(map(str, files)), cache_dir=cache)
        for split, files in tables.items()
    }


def register_hugging_face(name: str, rows: Any, *, boxes: str = "xywh") -> None:
    """Register a dataset that code has loaded.

    Args:
        name: how configurations call it.
        rows: a `datasets.Dataset`, or an `IterableDataset` of `streaming=True`, whose images are
            written as they come.
        boxes: one of `BOX_KINDS`.

    Raises:
        ConfigError: if the rows have no images or no objects, or for other boxes.
    """
    if boxes not in BOX_KINDS:
        raise ConfigError(f"boxes={boxes!r}: choose one of {', '.join(BOX_KINDS)}.")
    source = HuggingFaceSource(rows, f"hf:{name}", boxes)
    metadata = MetadataCatalog.get(name).set(evaluator_type="coco")

    def load() -> list[dict[str, Any]]:
        return select_classes(source.load(), source.classes(), metadata.thing_classes)

    DatasetCatalog.register(name, OrderedLoader(load))
    metadata.set_deferred(
        thing_classes=source.classes,
        keypoint_names=lambda: source.metadata().get("keypoint_names"),
    )
