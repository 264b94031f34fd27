"""Maps of classes beside images: a class for each pixel, by numbers, a palette or colours."""

import hashlib
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from d2lite.data.datasets.image_finder import files_below, has_image_ending, images_below
from d2lite.data.datasets.label_files import read_lines
from d2lite.data.images.class_map_files import read_class_map
from d2lite.data.records.faults import reading_faults
from d2lite.data.records.image_sizes import image_record, image_size, size_or_record_fault
from d2lite.utils.cores import usable_cores
from d2lite.utils.errors import DataError, MissingFileError, OutputError
from d2lite.utils.file_io import atomic_write, cache_dir
from d2lite.utils.logger import log_first_n

from .file_kinds import visible
from .named_splits import split_named
from .pixel_maps import NO_CLASS, PixelClasses, image_key, is_of_numbers, pixel_classes
from .source import find_path, no_such_path
from .splits import WHOLE, own_split

# Folders of images and of maps, as tools name them; Roboflow has both in one.
_IMAGES = (
    *("images", "image", "imgs", "img", "image_2", "JPEGImages", "Images"),
    *("img_dir", "data"),
)
_MAPS = (
    *("SegmentationClass", "masks_machine", "masks", "mask", "semantic", "annotations"),
    *("labels", "label", "gt", "ann_dir", "Masks"),
)
# What follows the name of the image in that of its map.
_ENDINGS = ("", "_mask", "_label", "_labels", "_seg", "_L", "_labelIds")
# Of the maps that tell whether all are black and white.
_NUM_SAMPLES = 10


class _Place(NamedTuple):
    """Folders of images and of maps; where they are one, what is not a map is an image."""

    images: Path
    maps: Path

    @property
    def pairs(self) -> Iterator[tuple[Path, Path]]:
        """The images that have a map, with it, by path."""
        maps = {image_key(p.relative_to(self.maps).as_posix()): p for p in images_below(self.maps)}
        endings = _ENDINGS[1:] if self.images == self.maps else _ENDINGS
        for path in images_below(self.images):
            key = image_key(path.relative_to(self.images).as_posix())
            found = (maps.get(key + ending) for ending in endings)
            if (match := next(filter(None, found), None)) is not None:
                yield path, match

    @property
    def has_maps(self) -> bool:
        """Whether an image has a map."""
        # Of two walks through all files neither needs an order, nor asks for each file's kind.
        images, maps = (
            {
                image_key(p.relative_to(home).as_posix())
                for p in files_below(home)
                if has_image_ending(p.name)
            }
            for home in (self.images, self.maps)
        )
        endings = _ENDINGS[1:] if self.images == self.maps else _ENDINGS
        return any(key + ending in maps for key in images for ending in endings)


def _places(folder: Path) -> dict[str, _Place]:
    """Split -> where it is: X/SPLIT, SPLIT/X, or X ("") of images and maps X."""
    below = [path for path in visible(folder) if path.is_dir()]
    names = {path.name for path in below}
    found: dict[str, _Place] = {}
    for path in below:
        for ending in ("annot", "_labels", "_masks"):  # CamVid
            if path.name + ending in names:
                found[path.name] = _Place(path, folder / f"{path.name}{ending}")
        if (path / "_classes.csv").is_file() and any(path.glob("*_mask.png")):  # Roboflow
            found[path.name] = _Place(path, path)
    is_project = (folder / "obj_class_to_machine_color.json").is_file()  # of Supervisely
    is_split = {p.name: is_project or split_named(p.name) != WHOLE for p in below}
    homes = {"": folder, **{p.name: p for p in below if is_split[p.name]}}
    for split, home in homes.items():
        images, maps = (
            next((home / name for name in known if (home / name).is_dir()), None)
            for known in (_IMAGES, _MAPS)
        )
        if images is None or maps is None:
            continue
        inside = [
            p.name
            for p in visible(images)
            if split_named(p.name) != WHOLE and p.is_dir() and (maps / p.name).is_dir()
        ]
        if inside and not split:
            found |= {name: _Place(images / name, maps / name) for name in inside}
        else:
            found[split] = _Place(images, maps)
    return found


def semantic_splits(folder: Path) -> dict[str, _Place]:
    """The splits of a folder of images with maps of classes whose names are in a list."""
    if not folder.is_dir():
        return {}
    return {
        split: place
        for split, place in _places(folder).items()
        if place.has_maps and _classes(folder, place).names
    }


def split_names(folder: Path, found: dict[str, _Place] | None = None) -> list[str]:
    """The names of the splits of such a folder; [""] where it is one set.

    Args:
        folder: of images and maps.
        found: its `semantic_splits`, where they are known.
    """
    found = semantic_splits(folder) if found is None else found
    return [file.stem for file in _lists(folder)] if "" in found and _lists(folder) else [*found]


def _lists(folder: Path) -> list[Path]:
    return sorted((folder / "ImageSets/Segmentation").glob("*.txt"))


def unnamed_maps(folder: Path) -> str:
    """What to do about maps without a list of their classes; "" where there are none."""
    for place in _places(folder).values():
        if place.has_maps:
            return (
                f"{place.maps} has masks or maps of classes, and there is no list of the classes. "
                f"Write {folder / 'classes.txt'}, a name a line in the order of the pixels' "
                "numbers from 0 (often background; 0 and 255 are two classes, too), or "
                "labelmap.txt, a line 'name:red,green,blue::' for each colour."
            )
    return ""


def _classes(folder: Path, place: _Place) -> PixelClasses:
    around = [place.maps, place.maps.parent, folder, folder.parent]
    return pixel_classes(around, has_default=place.maps.name == "SegmentationClass")


class SemanticSource:
    """One split of a folder with images, maps of classes, and a list of their names."""

    evaluator_type = "sem_seg"

    def __init__(self, path: str, split: str | None) -> None:
        """Find the folder and the split.

        Args:
            path: the folder.
            split: where None, "trainval", "train" or the only one.

        Raises:
            MissingFileError, ConfigError, DataError: without maps, without a list of classes, or
                for an unknown split.
        """
        self._folder = find_path(path, suits=lambda place: bool(semantic_splits(place)))
        found = semantic_splits(self._folder)
        if not found:
            tried = [self._folder / name for name in ("images", "masks", "SegmentationClass")]
            why = unnamed_maps(self._folder)
            missing = no_such_path(f"Images and maps of classes below {path}", tried)
            raise DataError(why) if why else missing
        chosen = own_split(split_names(self._folder, found), split, f"semantic:{path}")
        lists = (file for file in _lists(self._folder) if chosen not in found)
        self._list = next((file for file in lists if file.stem == chosen), None)
        self._place = found[chosen if self._list is None else ""]
        self._classes = _classes(self._folder, self._place)

    def metadata(self) -> dict[str, Any]:
        """The classes of pixels."""
        return {"stuff_classes": list(self._classes.names), "ignore_label": NO_CLASS}

    def classes(self) -> None:
        """None: such a set has pixels and not objects."""

    def category_ids(self) -> None:
        """None: such a set has pixels and not objects."""

    def load(self) -> list[dict[str, Any]]:
        """One dict an image that has a map, in order of the path.

        Maps in colours are written once as numbers, into the cache folder.

        Raises:
            DataError: if a list of the split names none of them.
        """
        pairs = list(self._place.pairs)
        if self._list is not None:
            names = {image_key(line) for line in read_lines(self._list)}
            names |= {name.rpartition("/")[2] for name in names}
            pairs = [
                pair
                for pair in pairs
                if image_key(pair[0].relative_to(self._place.images).as_posix()) in names
            ]
            if not pairs:
                raise DataError(f"No image that {self._list} names has a map of classes.")
        records = []
        with (
            reading_faults(str(self._folder)) as faults,
            ThreadPoolExecutor(min(usable_cores(), 8)) as pool,
        ):
            classes = _of_black_and_white(self._classes, [path for _, path in pairs])
            made = pool.map(partial(_as_numbers, classes), (path for _, path in pairs))
            for number, ((image, _), labels) in enumerate(zip(pairs, made, strict=True), start=1):
                size = size_or_record_fault(image, faults)
                if isinstance(labels, DataError):
                    faults.refuse("unreadable_annotations", str(labels), labels)
                elif size is not None and (other := image_size(labels)) != size:
                    text = f"{image} has {size[1]} x {size[0]} pixels and its map {labels} "
                    text += f"{other[1]} x {other[0]}"
                    faults.refuse("size_differs", text, DataError(f"{text}."))
                elif size is not None:
                    record = image_record(image, number, size, sem_seg_file_name=str(labels))
                    records.append(record)
        listed = self._classes.file or "Pascal VOC"
        loaded = f"{self._folder}: {len(records)} images with maps of the classes of {listed}"
        log_first_n(logging.INFO, loaded, key="message")
        return records


def _of_black_and_white(classes: PixelClasses, maps: list[Path]) -> PixelClasses:
    """The same classes, white for the second of two where the maps have no other values.

    Of maps that are all black the next ones are asked.
    """
    if len(classes.names) != 2 or classes.colours:
        return classes
    values: set[int] = set()
    for number, path in enumerate(maps):
        if number >= _NUM_SAMPLES and values - {0}:
            break
        with suppress(DataError, MissingFileError):
            values |= set(np.unique(read_class_map(str(path))).tolist())
    return replace(classes, colours={0: 0, 1: 0xFFFFFF}) if values == {0, NO_CLASS} else classes


def _as_numbers(classes: PixelClasses, path: Path) -> Path | DataError:
    """The map itself where its pixels are numbers of classes, else a file with these."""
    try:
        if is_of_numbers(path, classes):
            return path
        facts = path.stat()
        what = (str(path.resolve()), facts.st_size, facts.st_mtime_ns, classes.names)
        key = repr((*what, sorted(classes.number_of.items()))).encode()
        name = f"{path.stem}-{hashlib.blake2b(key, digest_size=8).hexdigest()}.png"
        target = cache_dir() / "class_maps" / name
        if not target.is_file():
            dtype = np.uint8 if len(classes.names) <= NO_CLASS + 1 else np.uint16
            numbers = Image.fromarray(classes.numbers(path).astype(dtype))
            with atomic_write(target, "wb") as stream:
                numbers.save(stream, format="PNG")
    except DataError as err:
        return err
    except MissingFileError as err:
        return DataError(str(err))
    except OSError as err:
        why = getattr(err.__cause__ or err, "strerror", None) or err
        raise OutputError(
            f"The classes of {path} cannot be written into {cache_dir()}: {why}. Let D2LITE_CACHE "
            "name a folder that can be written."
        ) from err
    return target
