"""Masks in PNGs: of d2lite itself one an object, white on black; of others one an image.

images/NAME.jpg, masks/NAME/OBJECT_CLASS.png and classes.txt, whose lines name the classes from 0.
"""

import logging
import re
from pathlib import Path
from typing import Any

from d2lite.data.datasets.image_finder import has_image_ending, images_below
from d2lite.data.datasets.label_files import read_lines
from d2lite.data.images.image_io import read_image
from d2lite.data.records.faults import FaultLog, reading_faults
from d2lite.data.records.image_sizes import image_record, size_or_record_fault
from d2lite.structures import BoxMode
from d2lite.structures.masks import rle
from d2lite.utils.errors import DataError, UserError

from .cityscapes_folder import CityscapesFolder, cityscapes_folder_splits
from .entries import Entry, EntrySource, Shape
from .file_kinds import visible
from .object_maps import (
    MotsListSource,
    NumberedSource,
    SegmentationSource,
    mots_lists,
    numbered_layout,
    segmentation_splits,
)
from .source import Source, find_path, no_such_path
from .splits import own_split

logger = logging.getLogger(__name__)

# Supervisely's folder of a PNG an object.
_INSTANCES = "masks_instances"


def _lacking(folder: Path) -> list[str]:
    """Which parts of such a dataset a folder does not have."""
    return [part for part in ("images", "masks", "classes.txt") if not (folder / part).exists()]


def mask_splits(folder: Path) -> list[str]:
    """The splits of a folder in one of the layouts of masks; [""] where there are none of them."""
    if not folder.is_dir():
        return []
    if not _lacking(folder):
        inside = [p for p in visible(folder / "masks") if p.is_dir() or has_image_ending(p.name)]
        # Folders of splits hold maps of classes.
        if all(p.is_dir() and not (folder / "images" / p.name).is_dir() for p in inside):
            return [""]
    if names := segmentation_splits(folder) or cityscapes_folder_splits(folder):
        return names
    if _of_numbers(folder):
        return [""]
    return [path.name for path in visible(folder) if path.is_dir() and _of_numbers(path)]


def _of_numbers(folder: Path) -> bool:
    has_maps = numbered_layout(folder) is not None or bool(mots_lists(folder))
    return has_maps or _has_instances(folder) or _is_of_folders(folder)


def _has_instances(folder: Path) -> bool:
    return (folder / "img").is_dir() and (folder / _INSTANCES).is_dir()


def _is_of_folders(folder: Path) -> bool:
    """Whether each image has a folder, with images/ and masks/ in it, as in Kaggle's Data Bowl."""
    inside = next(filter(Path.is_dir, visible(folder)), None)
    if inside is None or not (inside / "masks").is_dir():
        return False
    return [path.stem for path in visible(inside / "images")] == [inside.name]


def find_masks(path: str, split: str | None) -> Source:
    """The files of a folder with masks.

    Args:
        path: the folder.
        split: a list in ImageSets/Segmentation, or a folder in it; where None, "trainval", "train"
            or the only one.

    Raises:
        MissingFileError, ConfigError: without masks, or for an unknown split.
    """
    root = find_path(path, suits=lambda place: bool(mask_splits(place)))
    known = mask_splits(root)
    if not known:
        if lacking := _lacking(root):
            places = [root / part for part in (*lacking, "SegmentationObject", "instances")]
            raise no_such_path(f"A part of masks:{path} ({', '.join(lacking)})", places)
        raise DataError(
            f"{root / 'masks'} has no folder of an image, as masks: expects. semantic:{path} reads "
            "maps of classes."
        )
    chosen = own_split(known, split, f"masks:{path}")
    if segmentation_splits(root):
        return SegmentationSource(root, chosen)
    if cityscapes_folder_splits(root):
        return CityscapesFolder(root, chosen)
    if not _lacking(root):
        return MasksSource(root)
    home = root / chosen
    if layout := numbered_layout(home):
        return NumberedSource(home, layout)
    is_of_folders = _has_instances(home) or _is_of_folders(home)
    return FoldersSource(home) if is_of_folders else MotsListSource(home)


class MasksSource:
    """A folder with images/, masks/ and classes.txt."""

    evaluator_type = "coco"

    def __init__(self, folder: Path) -> None:
        """Take the folder."""
        self._folder = folder
        self._classes = read_lines(self._folder / "classes.txt")

    def metadata(self) -> dict[str, Any]:
        """Nothing: evaluation reads the dataset dicts."""
        return {}

    def classes(self) -> list[str]:
        """The lines of classes.txt."""
        return list(self._classes)

    def category_ids(self) -> None:
        """None: results are identified by class numbers."""

    def load(self) -> list[dict[str, Any]]:
        """One dict an image, with masks as run-length codes.

        Raises:
            DataError: if there are no images.
        """
        images = images_below(self._folder / "images")
        if not images:
            raise DataError(f"There are no images in {self._folder / 'images'}.")
        records = []
        with reading_faults(str(self._folder)) as faults:
            for number, image in enumerate(images, start=1):
                size = size_or_record_fault(image, faults)
                if size is None:
                    continue
                place = self._folder / "masks" / image.stem
                files = images_below(place) if place.is_dir() else []
                found = (self._object(file, faults) for file in files)
                objects = [obj for obj in found if obj is not None]
                records.append(image_record(image, number, size, annotations=objects))
        logger.info("%s: %d images with masks", self._folder, len(records))
        return records

    def _object(self, file: Path, faults: FaultLog) -> dict[str, Any] | None:
        number = file.stem.rpartition("_")[2]
        if not number.isdecimal() or int(number) >= len(self._classes):
            text = f"{file}: its name does not end in the number of a line of classes.txt"
            faults.refuse("unknown_category", text, DataError(f"{text}."))
            return None
        try:
            pixels = read_image(str(file), "L")[:, :, 0]
        except UserError as err:
            faults.refuse("bad_mask", str(err), err)
            return None
        code = rle.encode(pixels > 0)
        if not pixels.any():
            faults.refuse("bad_box", f"{file} is all black", DataError(f"{file} is all black."))
            return None
        return {
            "category_id": int(number),
            "bbox": rle.box_xywh(code),
            "bbox_mode": BoxMode.XYWH_ABS,
            "segmentation": code,
        }


class FoldersSource(EntrySource):
    """NAME/images/NAME.png and NAME/masks/*.png, one an object of the one class "object".

    Or img/NAME.jpg and masks_instances/NAME/CLASS_NUMBER.png of Supervisely.
    """

    layout = "folders of masks"

    def __init__(self, root: Path) -> None:
        """Take the folder of the folders.

        Args:
            root: that has a folder an image.
        """
        super().__init__(root, [root])

    def read_entries(self, faults: FaultLog) -> list[Entry]:
        """The images by name; those without masks/ have no objects."""
        entries = []
        if _has_instances(self.file):
            images = images_below(self.file / "img")
            homes = [self.file / _INSTANCES / image.name for image in images]
            homes = [p if p.is_dir() else p.with_suffix("") for p in homes]
            pairs = list(zip(images, homes, strict=True))
        else:
            places = list(filter(Path.is_dir, visible(self.file)))
            pairs = [(i, p / "masks") for p in places for i in images_below(p / "images")]
        for image, home in pairs:
            size = size_or_record_fault(image, faults)
            if size is None:
                continue
            entry = Entry(image.name, path=image, size=size)
            entries.append(entry)
            for file in images_below(home):
                label = re.sub(r"_\d+$", "", file.stem) if home.name != "masks" else "object"
                shape = Shape(label, where=str(file))
                entry.shapes.append(shape)
                try:
                    shape.mask = rle.encode(read_image(str(file), "L")[:, :, 0] > 0)
                except UserError as err:
                    shape.where, shape.fault = str(err), "bad_mask"
        return entries
