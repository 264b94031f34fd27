"""A Pascal VOC folder whose splits and classes are found in the folder itself."""

from functools import cached_property
from pathlib import Path
from typing import Any

from d2lite.data.datasets.image_finder import ImageFinder
from d2lite.data.datasets.pascal_voc import (
    VocFile,
    load_voc_instances,
    read_voc_files,
    voc_split_ids,
)
from d2lite.data.datasets.voc_xml import annotation_file, voc_labels
from d2lite.utils.errors import ConfigError, DataError

from .file_kinds import labels_below, visible, xml_kind
from .object_maps import VOC_IMAGES, segmentation_splits
from .pixel_maps import read_labelmap
from .source import find_path, no_such_path
from .splits import SAME_SPLIT

# So many files of a folder decide whether its XML is VOC's.
_NUM_PEEKS = 20
# Names of the folder of XML files, in any case.
_FOLDERS = ("annotations", "annotation", "labels", "xml", "xmls")


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
    if not root.is_dir():
        return {}
    homes = [p for p in visible(root) if p.is_dir() and p.name.lower() in _FOLDERS]
    for home in (*homes, root):
        # Other sets may be below a folder that has the images as well.
        if found := _annotation_files(home, is_deep=home != root):
            return {"": found}
    for home in (*homes, root):
        below = [p for p in visible(home) if p.is_dir()]
        splits = {p.name: _annotation_files(p) or _files_inside(p) for p in below}
        if found_splits := {name: files for name, files in splits.items() if files}:
            return found_splits
    return {}


def _files_inside(folder: Path) -> list[Path]:
    homes = (p for p in visible(folder) if p.is_dir() and p.name.lower() in _FOLDERS)
    return next((files for home in homes if (files := _annotation_files(home))), [])


def _annotation_files(folder: Path, *, is_deep: bool = True) -> list[Path]:
    """The XML files of a folder, if one of the first is VOC's, and perhaps those below it."""
    files = [p for p in visible(folder) if p.suffix.lower() == ".xml" and p.is_file()]
    if not any(xml_kind(path) == "voc" for path in files[:_NUM_PEEKS]):
        return []
    if not is_deep:
        return files
    homes = [folder.parent / name for name in VOC_IMAGES]
    homes += [folder.parent.parent / name / folder.name for name in VOC_IMAGES]
    return labels_below(folder, ".xml", [folder, folder.parent, *homes])


def _listed_classes(root: Path) -> list[str]:
    """The classes of labelmap.txt, a line "name:colour:parts:actions" each; [] without it."""
    file = root / "labelmap.txt"
    names = [name for name, _ in read_labelmap(file)] if file.is_file() else []
    return [name for name in dict.fromkeys(names) if name != "background"]


def _labels(path: Path, broken: list[str]) -> set[str]:
    try:
        return voc_labels(path)
    except DataError as err:  # reported when the image itself is read
        broken.append(str(err))
        return set()


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
        same = [n for n in known if SAME_SPLIT.get(n, n) == SAME_SPLIT.get(split, split)]
        if not is_there and same:
            is_there, split = True, same[0]
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
        """Those of labelmap.txt, which CVAT writes; others of any split after them, sorted."""
        return self._classes

    @cached_property
    def _classes(self) -> list[str]:
        folder = self._root / "Annotations"
        files = [path for paths in self._unlisted.values() for path in paths]
        if not files:
            ids = {i for split in voc_splits(self._root) for i in voc_split_ids(self._root, split)}
            # The test images of some years have no annotations.
            files = [annotation_file(folder / f"{i}.xml") for i in sorted(ids)]
            files = [path for path in files if path.is_file()]
        if not files and segmentation_splits(self._root):
            raise DataError(
                f"{self._root} has no .xml file in Annotations; masks in SegmentationObject are "
                f"read by masks:{self._root}."
            )
        broken: list[str] = []
        found = {label for path in files for label in _labels(path, broken)}
        listed = _listed_classes(self._root)
        labels = [*listed, *sorted(found - set(listed))]
        if not labels:
            raise DataError(
                f"No annotation of {self._root} has an object, so there are no classes. Expected "
                f"one XML file for each image; found {len(files)}"
                + (f", of which {len(broken)} are broken: {broken[0]}" if broken else ".")
            )
        return labels

    def category_ids(self) -> None:
        """None: results are identified by class names."""

    def load(self) -> list[dict[str, Any]]:
        """The split's dataset dicts."""
        if not self._unlisted:
            return load_voc_instances(str(self._root), self._split, self.classes())
        paths = self._unlisted[self._split]
        home = min((path.parent for path in paths), key=lambda place: len(place.parts))
        base = home.parent if home.name.lower() == "annotations" else home
        below = [base / name for name in VOC_IMAGES]
        # Images/train beside Annotations/train, as Datumaro writes LabelMe's of MIT.
        beside = [self._root / name / self._split for name in VOC_IMAGES if self._split]
        finder = ImageFinder([home, *below, *beside, base, self._root])
        # Named where it belongs in this layout if it is not there.
        likely = below[0] if base != home else home
        files = [
            VocFile(number, path, str(likely / path.relative_to(home).with_suffix(".jpg")))
            for number, path in enumerate(paths, start=1)
        ]
        return read_voc_files(files, self.classes(), str(home), finder)
