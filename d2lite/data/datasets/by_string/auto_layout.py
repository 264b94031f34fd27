"""Find out what a labelling tool exported: which kind of files a folder has, and which splits."""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from d2lite.utils.errors import ConfigError, DataError

from .voc import unlisted_voc, voc_splits
from .yolo import read_data_yaml

logger = logging.getLogger(__name__)

WHOLE = "(whole)"
"""Stands for the split of a folder whose files are not split."""

# COCO's files of other tasks are in the same folder.
_OTHER_TASKS = ("captions", "panoptic", "stuff", "image_info")
_SPLIT_IN_NAME = re.compile(
    r"(?<![a-z])(trainval|train|training|valid|validation|val|testing|test)(?![a-z])"
)
_SAME = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}
_PEEK_BYTES = 2**16


class Found(NamedTuple):
    """Where one split is: the kind of files, their path, and what follows the @."""

    kind: str
    path: Path
    part: str | None = None


def recognise(folder: Path) -> dict[str, Found]:
    """The splits of a folder, by the first layout that fits it.

    Args:
        folder: what a tool exported.

    Returns:
        "train", "val", "test" ... or `WHOLE` -> where it is.

    Raises:
        DataError: if no layout fits.
    """
    if not folder.is_dir():
        raise DataError(f"auto: needs a folder, and {folder} is a file. Name it by its own kind.")
    for layout in _LAYOUTS:
        splits = layout(folder)
        if splits:
            kind = next(iter(splits.values())).kind
            logger.info("%s holds a dataset of kind %s: %s", folder, kind, ", ".join(splits))
            return splits
    inside = ", ".join(sorted(p.name for p in folder.iterdir())[:10]) or "nothing"
    raise DataError(
        f"{folder} is in no layout that auto: knows; it holds {inside}. Known are Roboflow "
        "(train/_annotations.coco.json), COCO (annotations/*.json or *.json), YOLO (data.yaml), "
        "Pascal VOC (Annotations and JPEGImages, or an .xml beside each image) and LabelMe (a "
        ".json beside each image). Name the files themselves, as in coco:FILE.json@IMAGES_DIR, or "
        "images:DIR to predict only."
    )


def is_recognised(folder: Path) -> bool:
    """Whether some layout fits a folder."""
    return folder.is_dir() and any(layout(folder) for layout in _LAYOUTS)


def choose_split(
    splits: dict[str, Found], split: str | None, *, has_fraction: bool, name: str
) -> tuple[Found, bool]:
    """Which files a split of an auto: string means.

    Args:
        splits: from `recognise`.
        split: what follows the @; None for the training split, or the only one.
        has_fraction: whether the string has val_fraction.
        name: the whole string, for messages.

    Returns:
        The files, and whether the split is a drawn share of them.

    Raises:
        ConfigError: if there is no such split and none can be drawn.
    """
    wanted = _SAME.get(split, split) if split else None
    if wanted is None:
        wanted = "train" if "train" in splits or has_fraction else next(iter(splits))
        if wanted not in splits and len(splits) > 1:
            raise ConfigError(f"{name}: name one of the splits {', '.join(splits)} after an @.")
    base = splits.get("train") or splits.get("trainval") or splits.get(WHOLE)
    if has_fraction and wanted in ("train", "val"):
        if "val" in splits:
            raise ConfigError(
                f"{name}: the data have a validation split of their own, so none is drawn. Leave "
                "val_fraction out."
            )
        if base is not None:
            return base, True
    if wanted in splits:
        return splits[wanted], False
    shown = ", ".join(s for s in splits if s != WHOLE) or "no splits"
    mend = (
        " A share of the training images can be held out: add ?val_fraction=0.2 to the string of "
        "both, @train and @val."
        if base is not None and wanted in ("train", "val")
        else ""
    )
    whole = " Without an @ the string means all images." if WHOLE in splits else ""
    raise ConfigError(f"{name}: there is no split {split!r}; the data have {shown}.{whole}{mend}")


def _split_named(text: str) -> str:
    match = _SPLIT_IN_NAME.search(re.sub(r"[\d_]+", " ", text.lower()))
    return _SAME.get(match[1], match[1]) if match else WHOLE


def _subfolders(folder: Path) -> dict[str, Path]:
    """Subfolders that bear a split's name."""
    inside = sorted(p for p in folder.iterdir() if p.is_dir())
    return {
        split: p for p in inside if (split := _split_named(p.name)) != WHOLE and p.name.isalpha()
    }


def _roboflow(folder: Path) -> dict[str, Found]:
    return {
        split: Found("coco", path / "_annotations.coco.json", str(path))
        for split, path in _subfolders(folder).items()
        if (path / "_annotations.coco.json").is_file()
    }


def _coco(folder: Path) -> dict[str, Found]:
    """CVAT, Label Studio, COCO itself: the JSON in annotations/ or in the folder."""
    for home in (folder / "annotations", folder):
        files = [
            path
            for path in sorted(home.glob("*.json"))
            if not path.stem.startswith(_OTHER_TASKS) and _holds(path, "images", "shapes")
        ]
        splits: dict[str, Found] = {}
        # Instances before keypoints, which are a part of them.
        for path in sorted(files, key=lambda p: not p.stem.startswith("instances")):
            split = _split_named(path.stem)
            if split in splits:
                logger.info(
                    "%s: %s is taken and %s left out; name it by coco: if it is the right one.",
                    folder,
                    splits[split].path.name,
                    path.name,
                )
            splits.setdefault(split, Found("coco", path))
        if splits:
            return splits
    return {}


def _holds(path: Path, key: str, but_not: str) -> bool:
    """Whether a JSON seems to have a key, by its beginning: files of COCO are large."""
    with path.open("rb") as stream:
        head = stream.read(_PEEK_BYTES)
    return f'"{key}"'.encode() in head and f'"{but_not}"'.encode() not in head


def _yolo(folder: Path) -> dict[str, Found]:
    files = [folder / "data.yaml", *sorted(folder.glob("*.yaml")), *sorted(folder.glob("*.yml"))]
    for path in files:
        if not path.is_file():
            continue
        try:
            content = read_data_yaml(path)
        except DataError:
            continue  # some other YAML; data.yaml may be the next
        keys = [key for key in ("train", "val", "valid", "test") if content.get(key)]
        return {_SAME.get(key, key): Found("yolo", path, key) for key in keys}
    return {}


def _voc(folder: Path) -> dict[str, Found]:
    if (folder / "Annotations").is_dir() and (splits := voc_splits(folder)):
        return {split: Found("voc", folder, split) for split in splits}
    found = unlisted_voc(folder)
    if "" in found:
        return {WHOLE: Found("voc", folder)}
    return {
        split: Found("voc", folder, path.name)
        for split, path in _subfolders(folder).items()
        if path.name in found
    }


def _labelme(folder: Path) -> dict[str, Found]:
    splits = {
        split: Found("labelme", path)
        for split, path in _subfolders(folder).items()
        if _has_labelme(path)
    }
    if splits:
        return splits
    return {WHOLE: Found("labelme", folder)} if _has_labelme(folder) else {}


def _has_labelme(folder: Path) -> bool:
    return any(_holds(path, "shapes", "categories") for path in folder.rglob("*.json"))


def _roboflow_whole(folder: Path) -> dict[str, Found]:
    """One split of an export, named by itself."""
    path = folder / "_annotations.coco.json"
    return {WHOLE: Found("coco", path, str(folder))} if path.is_file() else {}


_LAYOUTS: tuple[Callable[[Path], dict[str, Found]], ...] = (
    _roboflow,
    _roboflow_whole,
    _yolo,
    _voc,
    _coco,
    _labelme,
)
