"""A COCO file whose image folder is named, or found beside it."""

import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PureWindowsPath
from typing import Any

from d2lite.data.datasets.coco_file import coco_categories, read_coco_json
from d2lite.data.datasets.coco_reading import read_coco_objects
from d2lite.data.datasets.image_finder import ImageFinder, missing_images, without_upload_prefix
from d2lite.data.datasets.location import barred
from d2lite.utils.download import split_address
from d2lite.utils.errors import MissingFileError
from d2lite.utils.file_io import PathManager

from .source import find_path, find_paths

logger = logging.getLogger(__name__)

# Larger files are read again for each question: their content would fill the memory.
_MAX_BYTES_TO_KEEP = 50 * 2**20

# So many images decide in which folder, and under what names, most of them are.
_NUM_PROBES = 50


Rename = Callable[[str], str]


@dataclass(frozen=True)
class _Head:
    """What is known of a file without its annotations.

    Attributes:
        categories: id -> name.
        keypoints: their names; empty where there are none.
        image_names: some of them.
    """

    categories: dict[int | str, str]
    keypoints: list[str]
    image_names: list[str]


class CocoSource:
    """One annotation file of COCO's format and its folder of images."""

    evaluator_type = "coco"

    def __init__(self, path: str, image_root: str | None, whole: Path | None = None) -> None:
        """Find the file; without a folder of images, that is looked for around it.

        Args:
            path: the JSON file.
            image_root: the folder; may also be relative to the JSON's own. Both may be addresses,
                as in coco:s3://bucket/labels.json@s3://bucket/photos.
            whole: the folder that is named in place of the JSON; if images are not where tools
                put them, all of it is searched.
        """
        is_address = "://" in path
        self._json = (
            Path(PathManager.get_local_path(path))
            if is_address
            else find_path(path, suits=Path.is_file)
        )
        # Images of an address are not looked for: they are where the file and the string say.
        self._address: str | None = None
        if image_root and "://" in image_root:
            self._address = image_root
        elif is_address:
            self._address = f"{path.rpartition('/')[0]}/{image_root or ''}".rstrip("/")
        self._said_root = image_root
        self._whole = whole if whole is not None and whole.is_dir() else None
        self._kept: dict[str, Any] | None = None

    def metadata(self) -> dict[str, Any]:
        """Paths of the file and of the images, and names of keypoints."""
        facts = {"json_file": str(self._json), "image_root": str(self._images[0])}
        keypoints = self._head.keypoints
        return {**facts, **({"keypoint_names": keypoints} if keypoints else {})}

    def classes(self) -> list[str]:
        """Category names by ascending id."""
        return list(self._head.categories.values())

    def category_ids(self) -> list[Any]:
        """The file's ids, ascending."""
        return list(self._head.categories)

    def load(self) -> list[dict[str, Any]]:
        """The dataset dicts."""
        numbers = {category: index for index, category in enumerate(self._head.categories)}
        folder, rename = self._images
        content = self._content()
        images = [_renamed(image, rename) for image in content["images"]]
        records = read_coco_objects({**content, "images": images}, numbers, self._json, folder)
        self._kept = None
        self._find_others(records)
        return records

    def _find_others(self, records: list[dict[str, Any]]) -> None:
        """Look for images that are in another folder than most, or of another case or ending."""
        missing = set(missing_images(records))
        if not missing:
            return
        for record in records:
            name = str(record.get("file_name"))
            found = self._found(os.path.relpath(name, self._images[0])) if name in missing else None
            if found is not None:
                record["file_name"] = str(found)

    def _found(self, name: str) -> Path | None:
        """The image of a name that is in another folder, or of another case or ending."""
        return next((path for finder in self._finders if (path := finder.find(name))), None)

    @cached_property
    def _finders(self) -> list[ImageFinder]:
        """Only a folder that is named is searched as a whole: around the file may be anything."""
        around = ImageFinder(self._folders, is_deep=self._said_root is not None)
        if self._whole is None:
            return [around]
        # Those of this file's split first: another may have images of the same names.
        inner = [folder for folder in self._folders if self._whole in folder.parents]
        return [around, ImageFinder(inner), ImageFinder([self._whole])]

    def _content(self) -> dict[str, Any]:
        if self._kept is not None:
            return self._kept
        content = read_coco_json(self._json)
        if self._json.stat().st_size <= _MAX_BYTES_TO_KEEP:
            self._kept = content
        return content

    @cached_property
    def _head(self) -> _Head:
        """What is asked about the file before it is loaded, by one reading."""
        content = self._content()
        categories = coco_categories(content, self._json)
        names = [str(i["file_name"]) for i in content["images"] if _has_name(i)]
        # From all over the file: where images are missing, they often do so in a row.
        names = names[:: -(-len(names) // _NUM_PROBES) or 1]
        return _Head(categories, _keypoint_names(content["categories"]), names)

    @cached_property
    def _folders(self) -> list[Path]:
        """Where the images may be, nearest first."""
        if self._said_root is not None:
            return find_paths(self._said_root, beside=self._json.parent)
        return [f for f in folders_around(self._json) if f.is_dir()]

    @cached_property
    def _images(self) -> tuple[Path | str, Rename]:
        """The folder of the images, and what to do to their names in the file."""
        if self._address is not None:
            return self._address, _RENAMES[0]
        names = self._head.image_names
        folders = self._folders
        places = [(folder, rename) for rename in _RENAMES for folder in folders]
        hits = [sum(_is_file(f / rename(n)) for n in names) for f, rename in places]
        if any(hits):
            folder, rename = places[hits.index(max(hits))]
            if rename is not _RENAMES[0]:
                logger.info(
                    "%s: images are found under the last part of the names it gives, as %s for %s.",
                    self._json,
                    folder / rename(names[0]),
                    names[0],
                )
            return folder, rename
        is_other = any(self._found(name) is not None for name in names)
        if is_other or self._said_root is not None or not names:
            # Each missing image is named when it is read.
            return (folders or [self._json.parent])[0], _RENAMES[0]
        if closed := next(filter(None, (barred(f / names[0]) for f in folders)), None):
            raise closed
        raise MissingFileError(
            f"The image {names[0]} of {self._json} is in none of the folders where it was looked "
            f"for: {', '.join(map(str, folders))}. Name the folder of the images after an @, as "
            f"in coco:{self._json.name}@IMAGES_DIR."
        )


def _has_name(image: Any) -> bool:
    return isinstance(image, dict) and isinstance(image.get("file_name"), str)


def _renamed(image: Any, rename: Rename) -> Any:
    if not _has_name(image):
        return image
    name = rename(image["file_name"])
    return image if name == image["file_name"] else {**image, "file_name": name}


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file system holds
        return False


def _keypoint_names(categories: list[dict[str, Any]]) -> list[str]:
    """Names of the keypoints, where the categories that have some agree."""
    found = [c["keypoints"] for c in categories if c.get("keypoints")]
    found = [names for names in found if isinstance(names, list)]
    is_one = bool(found) and all(names == found[0] for names in found)
    return [str(name) for name in found[0]] if is_one else []


def folders_around(json_file: Path) -> list[Path]:
    """Where tools put the images of a JSON, nearest first."""
    stem = json_file.stem
    last = stem.rpartition("_")[2]
    split = re.sub(r"\d+$", "", last)
    folders = []
    for home in (json_file.parent, json_file.parent.parent):
        below = [
            ".",
            stem,
            last,
            split,
            "images",
            f"images/{last}",
            f"images/{split}",
            "JPEGImages",
        ]
        folders += [home / name for name in (*below, "data", f"data/{last}")]
    above, part = json_file.parent.parent, json_file.parent.name
    if above.name == "annotations":  # annotations/train/instances.json, images/train
        folders += [above.parent / name for name in (f"images/{part}", part, f"data/{part}")]
    return list(dict.fromkeys(Path(os.path.normpath(folder)) for folder in folders))


def _as_said(name: str) -> str:
    if "://" in name:
        return split_address(name).path.lstrip("/")
    # Label Studio on Windows writes backslashes.
    return name if "\\" not in name else PureWindowsPath(name).as_posix()


def _last_part(name: str) -> str:
    # Of an address what follows the question mark is not of the name.
    return PureWindowsPath(split_address(name).path if "://" in name else name).name


def _without_prefix(name: str) -> str:
    return without_upload_prefix(_last_part(name))


_RENAMES = (_as_said, _last_part, _without_prefix)
