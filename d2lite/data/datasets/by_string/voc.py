"""A Pascal VOC folder whose splits and classes are found in the folder itself."""

import re
from functools import cached_property
from pathlib import Path
from typing import Any

from d2lite.data.datasets.pascal_voc import (
    VocFile,
    load_voc_instances,
    read_voc_files,
    voc_labels,
    voc_split_ids,
)
from d2lite.utils.errors import ConfigError, DataError

from .source import IMAGE_ENDINGS, find_path, no_such_path

_PEEK_BYTES = 1024

# CVAT's own format begins with <annotations>.
_ROOT_TAG = re.compile(rb"<annotation[\s>]")


def voc_splits(root: Path) -> list[str]:
    """Names of the text files in ImageSets/Main, class-wise lists as "cat_train" left out."""
    names = {path.stem for path in (root / "ImageSets" / "Main").glob("*.txt")}
    return sorted(n for n in names if "_" not in n or n.rpartition("_")[2] not in names)


def unlisted_voc(root: Path) -> dict[str, list[Path]]:
    """The annotation files of a folder without ImageSets/Main, as many tools write it.

    Returns:
        "" -> the files of Annotations/, or of the folder itself; where there are none, the
        subfolders' names -> their files, as train, valid and test of Roboflow.
    """
    for home in (root / "Annotations", root / "annotations", root):
        if found := _annotation_files(home):
            return {"": found}
    below = sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    splits = {p.name: _annotation_files(p) or _annotation_files(p / "Annotations") for p in below}
    return {name: files for name, files in splits.items() if files}


def _annotation_files(folder: Path) -> list[Path]:
    """The XML files of a folder, if the first one is VOC's."""
    files = sorted(folder.glob("*.xml"))
    if not files:
        return []
    with files[0].open("rb") as stream:
        return files if _ROOT_TAG.search(stream.read(_PEEK_BYTES)) else []


def _labels(path: Path) -> set[str]:
    try:
        return voc_labels(path)
    except DataError:
        return set()  # told when the image itself is read


def _image_names(folder: Path) -> dict[str, str]:
    """Name without ending -> path, of the images of a folder."""
    return {
        path.stem: str(path)
        for path in sorted(folder.glob("*"))
        if path.suffix.lower() in IMAGE_ENDINGS
    }


class VocSource:
    """One split of a folder with Annotations, ImageSets/Main and JPEGImages.

    Without ImageSets/Main all annotation files count, or those of a subfolder of the split's name.
    """

    def __init__(self, path: str, split: str | None) -> None:
        """Find the folder and the split.

        Args:
            path: the folder.
            split: where None, "trainval" if there is one, or the only split.
        """
        self._root = find_path(path, suits=lambda place: bool(voc_splits(place)))
        known = voc_splits(self._root)
        self._unlisted: dict[str, list[Path]] = {}
        if not known:
            self._root = find_path(path, suits=lambda place: bool(unlisted_voc(place)))
            self._unlisted = unlisted_voc(self._root)
            known = list(self._unlisted)
        if not known:
            lists, files = self._main / "*.txt", self._root / "Annotations" / "*.xml"
            raise no_such_path(f"The annotations of VOC's format, below {path},", [lists, files])
        if split is None:
            split = "trainval" if "trainval" in known else known[0]
            if split != "trainval" and len(known) > 1:
                raise ConfigError(
                    f"voc:{path} has the splits {', '.join(known)}; name one as in "
                    f"voc:{path}@{split}."
                )
        is_there = split in self._unlisted or (self._main / f"{split}.txt").is_file()
        if not is_there and "" in known:
            raise ConfigError(
                f"voc:{path} has no split {split!r}: there is no ImageSets/Main that lists any. "
                f"voc:{path} means all its images; a share can be held out by "
                f"auto:{path}@train?val_fraction=0.2 and auto:{path}@val?val_fraction=0.2."
            )
        if not is_there:
            raise ConfigError(f"voc:{path} has no split {split!r}; it has {', '.join(known)}.")
        self._split = split

    @property
    def evaluator_type(self) -> str:
        """VOC's own evaluation reads the lists of images; without them it is COCO's."""
        return "coco" if self._unlisted else "pascal_voc"

    @property
    def _main(self) -> Path:
        return self._root / "ImageSets" / "Main"

    def metadata(self) -> dict[str, Any]:
        """The folder and the split."""
        return {} if self._unlisted else {"dirname": str(self._root), "split": self._split}

    def classes(self) -> list[str]:
        """The labels in all splits of the folder, sorted, so that train and test agree."""
        return self._classes

    @cached_property
    def _classes(self) -> list[str]:
        folder = self._root / "Annotations"
        files = [path for paths in self._unlisted.values() for path in paths]
        if not files:
            ids = {i for split in voc_splits(self._root) for i in voc_split_ids(self._root, split)}
            # The test images of some years have no annotations.
            files = [path for i in sorted(ids) if (path := folder / f"{i}.xml").is_file()]
        labels = sorted({label for path in files for label in _labels(path)})
        if not labels:
            raise DataError(
                f"No annotation of {self._root} has an object, so there are no classes. Expected "
                "one XML file for each image."
            )
        return labels

    def category_ids(self) -> None:
        """None: results are identified by class names."""

    def load(self) -> list[dict[str, Any]]:
        """The split's dataset dicts."""
        if self._unlisted:
            return self._load_unlisted()
        records = load_voc_instances(str(self._root), self._split, self.classes())
        if records and not Path(records[0]["file_name"]).is_file():
            # The layout says .jpg; labelling tools keep what the images are.
            images = _image_names(self._root / "JPEGImages")
            for record in records:
                record["file_name"] = images.get(record["image_id"], record["file_name"])
        return records

    def _load_unlisted(self) -> list[dict[str, Any]]:
        paths = self._unlisted[self._split]
        home = paths[0].parent
        around = [home.parent / name for name in ("JPEGImages", "images", "Images", ".")]
        names = [_image_names(folder) for folder in (home, *around)]
        files = []
        for number, path in enumerate(paths, start=1):
            found = [images[path.stem] for images in names if path.stem in images]
            image = found[0] if found else str(around[0] / f"{path.stem}.jpg")
            files.append(VocFile(number, path, image))
        return read_voc_files(files, self.classes(), f"{home}")
