"""The files of a YOLO dataset: class names, splits and images, as many tools arrange them.

data.yaml (Ultralytics, Roboflow, CVAT); obj.data and obj.names (Darknet, CVAT's YOLO 1.1); images
and labels with a classes.txt (LabelImg, Label Studio, makesense), _darknet.labels (Roboflow) or
darknet.labels (V7).
"""

import logging
import re
from dataclasses import dataclass, field
from glob import glob
from itertools import takewhile
from pathlib import Path, PureWindowsPath
from typing import Any

import yaml

from d2lite.data.datasets.image_finder import (
    IMAGE_ENDINGS,
    files_below,
    images_below,
    is_leftover,
    unread_images,
    without_upload_prefix,
)
from d2lite.data.datasets.label_files import read_lines, read_text
from d2lite.utils.errors import ConfigError, DataError, MissingFileError
from d2lite.utils.nested import MAX_TEXT, refuse_repetition

from .file_kinds import visible
from .source import find_path
from .splits import UNSPLIT
from .yolo_classes import names_of_list, names_of_yaml

logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "valid", "validation", "test")
_SAME = {"valid": ("val", "valid", "validation"), "validation": ("val", "valid", "validation")}
_SAME["val"] = _SAME["valid"]
# Files that list a class a line, the number of the line being the class.
_NAME_FILES = (
    "classes.txt",
    "obj.names",
    "_darknet.labels",
    "darknet.labels",
    "labels.txt",
    "predefined_classes.txt",
)
_MAX_KEYPOINTS = 1000
# So many images decide whether a folder has labels.
_NUM_PROBES = 200


@dataclass
class YoloFiles:
    """What the files say, before images and labels are read.

    Attributes:
        file: the one that decides: data.yaml, obj.data, classes.txt ...
        names: number as the label files have it -> class name, unique.
        entries: split -> what it is: folders, lists or images, as written.
        others: keys of the file that may be splits of unusual names, likewise.
        root: the folder that entries are relative to, as written; "" for the file's own.
        keypoints: (number of points, numbers a point) of pose labels; None without.
        flips: for each keypoint the one that a horizontal flip makes of it; None if not stated.
        keypoint_names: as stated; may be empty.
    """

    file: Path
    names: dict[str, str]
    entries: dict[str, list[str]] = field(default_factory=dict)
    others: dict[str, list[str]] = field(default_factory=dict)
    root: str = ""
    keypoints: tuple[int, int] | None = None
    flips: list[int] | None = None
    keypoint_names: list[str] = field(default_factory=list)

    def splits(self) -> list[str]:
        """The splits whose images are there."""
        return [name for name in self.entries if self.has(name)]

    def has(self, split: str) -> bool:
        """Whether the images of a split are there."""
        return any(self._places(entry) for entry in self.entries.get(split, ()))

    def split_named(self, split: str | None) -> str:
        """The key of a split that is asked for by one of its names; "train" where None.

        Raises:
            ConfigError: if there is no such split.
        """
        if split is None:
            known = self.splits()
            split = "train" if "train" in self.entries or not known else known[0]
        for key in _SAME.get(split, (split,)):
            if key in self.others:
                self.entries.setdefault(key, self.others[key])
            if key in self.entries:
                return key
        raise ConfigError(
            f"{self.file} has no split {split!r}; it has {', '.join(self.entries) or 'none'}."
        )

    def images(self, split: str) -> list[Path]:
        """The images of a split.

        Raises:
            MissingFileError: if what is named does not exist.
            DataError: if there are no images in it.
        """
        found: list[Path] = []
        for entry in self.entries[split]:
            places = self._places(entry)
            if not places:
                known = [name for name in self.splits() if name != split]
                hint = f" The images of {', '.join(known)} are there." if known else ""
                raise MissingFileError(
                    f"{self.file} says that the images of {split!r} are in {entry}"
                    f"{f' below {self.root}' if self.root else ''}, which does not exist here "
                    f"(looked around {self.file.parent}).{hint} Correct the paths in "
                    f"{self.file.name}."
                )
            found += [image for place in places for image in self._listed(place)]
        if not found:
            folders = (place for e in self.entries[split] for place in self._places(e))
            other = unread_images(file for folder in folders for file in files_below(folder))
            listed = ", ".join(self.entries[split])
            raise DataError(f"{self.file}: no images in {listed}. {other}".rstrip())
        return found

    def _places(self, entry: str) -> list[Path]:
        """Where an entry is; several places of a pattern such as "images/*.jpg"."""
        place = self._place(entry)
        if place is not None:
            return [place]
        parts = entry.replace("\\", "/").split("/")
        plain = list(takewhile(lambda part: not re.search(r"[*?[]", part), parts))
        # The folder before a pattern is looked for as any other.
        home = self._place("/".join(plain) or ".") if len(plain) < len(parts) else None
        pattern = "/".join(parts[len(plain) :])
        return sorted(home / name for name in glob(pattern, root_dir=home)) if home else []

    def _place(self, entry: str) -> Path | None:
        """Where an entry is; tools write paths from many folders, and of other machines."""
        home = self.file.parent
        entry, root = entry.replace("\\", "/"), self.root.replace("\\", "/")
        # Roboflow writes ../train/images for a folder that is beside data.yaml.
        plain = re.sub(r"^(\.{1,2}/)+", "", entry)
        tried = [home / root / entry, home / entry, Path(root) / entry, home / plain]
        # Of a path of another machine the last folders may be here.
        parts = [p for p in PureWindowsPath(plain).parts if p not in ("/", "\\")]
        tried += [home.joinpath(*parts[i:]) for i in range(1, len(parts))]
        for place in tried:
            # Not the folder above and not the whole disk, which a stray slash would mean.
            if place.exists() and place not in (home.parent, Path(place.anchor)):
                return place
        try:
            place = find_path(str(Path(root) / entry), beside=home)
            return None if place == Path(place.anchor) else place
        except MissingFileError:
            return None

    def _listed(self, place: Path) -> list[Path]:
        """The images of a folder, of a list, or the one image itself."""
        if place.is_dir():
            return [path for path in images_below(place) if not is_leftover(path)]
        if place.suffix.lower() in IMAGE_ENDINGS:
            return [place]
        images = []
        for line in read_lines(place):
            name = line.replace("\\", "/")
            # CVAT begins its lines with data/, a folder that its archives do not have.
            tried = [place.parent / name, self.file.parent / name]
            tried += [self.file.parent / name.removeprefix("data/")]
            parts = PureWindowsPath(name).parts
            tried += [self.file.parent.joinpath(*parts[i:]) for i in range(1, len(parts))]
            images.append(next((path for path in tried if path.is_file()), tried[0]))
        return images


def read_yolo(place: Path) -> YoloFiles:
    """The files of a data.yaml, an obj.data, a classes.txt or the folder that holds one.

    Raises:
        DataError: if it is none of these.
    """
    if place.is_dir():
        found = find_yolo(place)
        if found is None:
            inside = ", ".join([p.name for p in visible(place)][:10]) or "nothing"
            raise DataError(
                f"{place} has no data.yaml, obj.data or classes.txt with labels; it holds "
                f"{inside}. Name the .yaml file, or write one with 'names', 'train' and 'val'."
            )
        return found
    if place.suffix.lower() == ".data":
        return _darknet(place)
    if place.suffix.lower() in (".txt", ".names", ".labels"):
        return _name_list(place)
    return _data_yaml(place)


def find_yolo(folder: Path) -> YoloFiles | None:
    """The YOLO dataset of a folder; None if there is none.

    Raises:
        DataError: if the folder's data.yaml cannot be read.
    """
    files = [p for p in visible(folder, "*.y*ml") if p.suffix.lower() in (".yaml", ".yml")]
    for path in sorted(files, key=lambda path: path.name.lower() != "data.yaml"):
        if not path.is_file():
            continue
        try:
            return _data_yaml(path)
        except DataError:
            if path.name.lower() == "data.yaml":
                raise
            # Some other YAML; the next may be it.
    for path in visible(folder, "*.data"):
        return _darknet(path)
    for name in _NAME_FILES:
        below = [folder, *(p for p in visible(folder) if p.is_dir() and p.name in SPLITS)]
        below += [p for p in (folder / "labels", *visible(folder / "labels")) if p.is_dir()]
        files = [home / name for home in below if (home / name).is_file()]
        if files and (found := _name_list(files[0], folder)).entries:
            if any(read_lines(file) != read_lines(files[0]) for file in files[1:]):
                listed = ", ".join(map(str, files))
                raise DataError(
                    f"{listed} list other classes, so the numbers of the label files mean "
                    f"different classes. Write one {folder / name} for all."
                )
            return found
    return None


def _data_yaml(path: Path) -> YoloFiles:
    text = read_text(path, MAX_TEXT)
    try:
        content = yaml.safe_load(text)
        refuse_repetition(content)
    except (yaml.YAMLError, ValueError, RecursionError) as err:
        raise DataError(f"{path} is not valid YAML: {err}.") from err
    names = content.get("names") if isinstance(content, dict) else None
    if not isinstance(names, list | dict) or not names:
        raise DataError(
            f"{path} is not a data.yaml of a YOLO dataset: it needs 'names' (a list of class "
            "names, or a mapping from number to name) and 'train' and 'val' (image folders)."
        )
    found = YoloFiles(path, names_of_yaml(text, path))
    if content.get("nc") not in (None, len(names), str(len(names))):
        logger.warning(
            "%s: nc is %s, but names has %d classes; names counts.", path, content["nc"], len(names)
        )
    for split in SPLITS:
        entry = content.get(split)
        if entry:
            found.entries[split] = [str(e) for e in (entry if isinstance(entry, list) else [entry])]
    for key, value in content.items():
        listed = value if isinstance(value, list) else [value]
        if key not in found.entries and listed and all(isinstance(e, str) for e in listed):
            found.others[str(key)] = listed
    found.root = str(content.get("path") or "")
    if not found.entries:
        _look_around(found, path.parent)
    _read_keypoints(found, content)
    return found


def _read_keypoints(found: YoloFiles, content: dict[str, Any]) -> None:
    shape = content.get("kpt_shape")
    if shape is None:
        return
    try:
        count, size = (int(value) for value in shape)
        found.keypoints = (count, size)
        found.flips = [int(value) for value in content.get("flip_idx") or ()] or None
    except (TypeError, ValueError, OverflowError) as err:
        raise DataError(f"{found.file}: kpt_shape is {shape!r}, not [points, 2 or 3].") from err
    if not 1 <= count <= _MAX_KEYPOINTS or size not in (2, 3):
        raise DataError(f"{found.file}: kpt_shape is {shape!r}, not [points, 2 or 3].")
    if found.flips is not None and sorted(found.flips) != list(range(count)):
        raise DataError(f"{found.file}: flip_idx is not an order of the {count} keypoints.")
    names = content.get("kpt_names")
    if isinstance(names, dict) and names:
        names = next(iter(names.values()))
    if isinstance(names, list) and len(names) == count:
        found.keypoint_names = [str(name) for name in names]


def _darknet(path: Path) -> YoloFiles:
    """obj.data: lines "train = data/train.txt", "names = data/obj.names"."""
    pairs = (line.partition("=") for line in read_lines(path))
    facts = {key.strip().lower(): value.strip() for key, is_pair, value in pairs if is_pair}
    found = YoloFiles(path, {})
    names = found._place(facts.get("names", "obj.names"))
    if names is None or not names.is_file():
        raise DataError(f"{path}: the list of class names {facts.get('names')!r} does not exist.")
    found.names = names_of_list(names)
    for key, value in facts.items():
        if key in (*SPLITS, *UNSPLIT):
            found.entries[key] = [value]
    # Lists that obj.data does not name.
    for name in SPLITS:
        if name not in found.entries and (path.parent / f"{name}.txt").is_file():
            found.entries[name] = [f"{name}.txt"]
    return found


def _name_list(path: Path, folder: Path | None = None) -> YoloFiles:
    """Class names a line, and images with labels around them, in splits or not."""
    found = YoloFiles(path, names_of_list(path))
    _look_around(found, folder or path.parent)
    return found


def _look_around(found: YoloFiles, folder: Path) -> None:
    """Take the images with labels below a folder as entries, where no file lists them."""
    below = {p.name: p for p in visible(folder) if p.is_dir()}
    home = below.get("images", folder)
    for split in SPLITS:
        place = home / split
        if place.is_dir() and _has_labels(place):
            found.entries[split] = [str(place)]
    if not found.entries and _has_labels(home):
        found.entries["all"] = [str(home)]


def _has_labels(folder: Path) -> bool:
    """Whether some image below a folder has a label file."""
    images = images_below(folder)[:_NUM_PROBES]
    wanted = [label_file(image) for image in images]
    if any(path.is_file() for path in wanted):
        return True
    texts = {path for home in {p.parent for p in wanted} for path in home.glob("*.txt")}
    return bool({p.stem for p in wanted} & {without_upload_prefix(p.stem) for p in texts})


def label_file(image: Path) -> Path:
    """The text of an image: in a folder "labels" in place of "images", or beside it or that folder.

    The last folder "images" of the path counts first; where there is no such file, others that
    are called so, and NAME.jpg.txt. The first choice where none exists.
    """
    parts = list(image.parts)
    tried = []
    for place in reversed(range(len(parts) - 1)):
        if parts[place].lower() == "images":
            for name in ("labels", "Labels", "labelTxt"):
                changed = [*parts[:place], name, *parts[place + 1 :]]
                tried.append(Path(*changed).with_suffix(".txt"))
    beside = image.with_suffix(".txt")
    tried += [beside, image.parent / "labels" / beside.name]
    if image.parent.name.lower() == "images":
        tried.append(image.parent.parent / beside.name)
    tried += [path.with_name(f"{image.name}.txt") for path in tried]
    return next((path for path in tried if path.is_file()), tried[0])
