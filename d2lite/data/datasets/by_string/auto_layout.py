"""Find out what a labelling tool exported: which kind of files a folder has, and which splits."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from d2lite.utils.errors import DataError
from d2lite.utils.logger import log_first_n

from .advice import advice, brush_masks, file_advice, maps_alone, only_images
from .csv_table import table_parts
from .cvat import cvat_subsets
from .file_kinds import csv_kind, json_kind, visible, visible_below, xml_kind
from .hugging_face_files import hugging_face_splits
from .masks import mask_splits
from .named_splits import by_split, one_file, split_named
from .object_maps import segmentation_splits
from .semantic import split_names, unnamed_maps
from .shards import is_shard, shard_patterns
from .splits import SAME_SPLIT, UNSPLIT, WHOLE, Found, Splits
from .supervisely import supervisely_datasets
from .text_boxes import LABEL_FOLDERS, label_folder, widerface_files
from .voc import unlisted_voc, voc_splits
from .yolo_files import YoloFiles, find_yolo, read_yolo

logger = logging.getLogger(__name__)

# COCO's files of other tasks are in the same folder.
_OTHER_TASKS = ("captions", "panoptic", "stuff", "image_info")

_LEFT_OUT = "%s: %s is taken and %s left out; name it by %s: if it is the right one."

_KNOWN = (
    "COCO (annotations/*.json, *.json or one in each split's folder), its panoptic JSON, YOLO "
    "(data.yaml; classes.txt with labels/; obj.data of Darknet), Pascal VOC (Annotations and "
    "JPEGImages, or an .xml beside each image), LabelMe (a .json beside each image), CVAT "
    "(annotations.xml), VIA, Create ML, Datumaro, Label Studio's JSON, Supervisely, tables of "
    "boxes in CSV, DOTA (labelTxt), KITTI (label_2), VisDrone, WIDER FACE, masks in PNGs "
    "(SegmentationObject of Pascal VOC, gtFine/, instances/ of MOTS, instance/ of KITTI), maps of "
    "classes (images/ and masks/ with classes.txt, SegmentationClass, CamVid), .parquet files of "
    "Hugging Face and what its save_to_disk wrote, .tar files of WebDataset"
)


def recognise(folder: Path) -> Splits:
    """The splits of a folder, by the first layout that fits it.

    Args:
        folder: what a tool exported; a folder that holds nothing but another one means that.

    Returns:
        "train", "val", "test" ... or `WHOLE` -> where it is.

    Raises:
        DataError: if no layout fits, or the file that decides cannot be read.
    """
    splits = _first_fit(folder) if folder.is_dir() else _one_named(folder)
    if splits:
        first = next(iter(splits.values()))
        why = os.path.relpath(first.path, folder) if first.path != folder else "what is in it"
        taken = f"{folder}: taken as {first.kind}, because of {why}; splits: {', '.join(splits)}"
        log_first_n(logging.INFO, taken, key="message")
        return splits
    if not folder.is_dir():
        raise DataError(
            f"{folder} is a file of no kind that auto: knows.{file_advice(folder)} Known are "
            f"{_KNOWN}. Name it by its own kind, or name the folder."
        )
    if why := unnamed_maps(folder):
        raise DataError(f"{folder} is in no layout that auto: knows. {why}")
    if only_images(folder) and not maps_alone(folder):
        fix = brush_masks(folder) or (
            f"Name {folder.parent}, which has them"
            if is_recognised(folder.parent)
            else "Export the labels into it as well, as COCO or YOLO where the tool can "
            "(docs/datasets.md lists all formats)"
        )
        raise DataError(
            f"{folder} has images and no labels. {fix}; or images:{folder}, to predict on."
        )
    inside = ", ".join([p.name for p in visible(folder)][:10]) or "nothing"
    raise DataError(
        f"{folder} is in no layout that auto: knows; it holds {inside}.{advice(folder)} Known are "
        f"{_KNOWN}. Export as COCO or YOLO where the tool can, or name the files themselves, as in "
        "coco:FILE.json@IMAGES_DIR; images:DIR is for prediction only."
    )


def _one_named(path: Path) -> Splits:
    """What a file is whose name is given."""
    if not path.is_file():
        raise DataError(f"{path} is neither a file nor a folder. Save what it gives into a file.")
    kinds = {".json": json_kind, ".csv": csv_kind, ".tsv": csv_kind, ".xml": xml_kind}
    ending = path.suffix.lower()
    find = kinds.get(ending)
    kind = find(path) if find else "yolo" if ending in (".yaml", ".yml", ".data") else ""
    if kind == "yolo":
        splits = read_yolo(path).splits()
        return {SAME_SPLIT.get(name, name): Found(kind, path, name) for name in splits}
    if kind in _PARTS:
        return _PARTS[kind](path)
    if ending == ".tar" and is_shard(path):
        kind = "wds"
    # One file of these is one image.
    return {WHOLE: Found(kind, path)} if kind not in ("", "voc", "labelme") else {}


def is_recognised(folder: Path) -> bool:
    """Whether some layout fits a folder."""
    try:
        return folder.is_dir() and bool(_first_fit(folder))
    except DataError:
        return True  # it is what is meant; the message says what is wrong with it


def _first_fit(folder: Path, depth: int = 8) -> Splits:
    for layout in _LAYOUTS:
        if splits := layout(folder):
            return splits
    inside = list(visible(folder))
    is_wrapped = depth > 0 and len(inside) == 1 and inside[0].is_dir()
    return _first_fit(inside[0], depth - 1) if is_wrapped else {}


def _json_files(folder: Path, kind: str) -> list[Path]:
    files = visible(folder, "*.json")
    others = () if kind == "panoptic" else _OTHER_TASKS
    return [path for path in files if not path.stem.startswith(others) and json_kind(path) == kind]


def _roboflow(folder: Path) -> Splits:
    def find(place: Path) -> Found | None:
        path = place / "_annotations.coco.json"
        return Found("coco", path, str(place)) if path.is_file() else None

    return by_split(folder, find)


def _coco(folder: Path) -> Splits:
    """The JSON in annotations/ or in the folder; or one in each split's folder."""
    for home in (folder / "annotations", folder):
        splits: Splits = {}
        # Instances before keypoints, which are a part of them.
        for path in sorted(
            _json_files(home, "coco"), key=lambda p: not p.stem.startswith("instances")
        ):
            split = split_named(path.stem)
            if split in splits:
                logger.info(_LEFT_OUT, folder, splits[split].path.name, path.name, "coco")
            splits.setdefault(split, Found("coco", path))
        if splits:
            return splits

    def find(place: Path) -> Found | None:
        files = _json_files(place, "coco") or _json_files(place / "annotations", "coco")
        return Found("coco", files[0]) if files else None

    return by_split(folder, find)


def _yolo(folder: Path) -> Splits:
    found: YoloFiles | None = find_yolo(folder)
    if found is None:
        return {}
    # A list of classes in a folder of the labels is of all images of the whole folder.
    place = found.file if found.file.parent == folder else folder
    splits = {SAME_SPLIT.get(name, name): Found("yolo", place, name) for name in found.splits()}
    return splits or {WHOLE: Found("yolo", place)}


def _voc(folder: Path) -> Splits:
    if segmentation_splits(folder):
        if next((folder / "Annotations").rglob("*.xml"), None) is None:
            return {}
        logger.info("%s: boxes are taken; masks:%s has masks.", folder, folder)
    if (folder / "Annotations").is_dir() and (splits := voc_splits(folder)):
        names = {s: WHOLE if s in UNSPLIT else SAME_SPLIT.get(s, s) for s in splits}
        return {name: Found("voc", folder, s) for s, name in names.items()}
    found = unlisted_voc(folder)
    if "" in found:
        return {WHOLE: Found("voc", folder)}
    named = {split_named(name): name for name in found if name.isalpha()}
    return {split: Found("voc", folder, name) for split, name in named.items() if split != WHOLE}


def _labelme(folder: Path) -> Splits:
    def find(place: Path) -> Found | None:
        files = visible_below(place, ".json")
        return Found("labelme", place) if any(json_kind(p) == "labelme" for p in files) else None

    return by_split(folder, find)


def _one_json(kind: str) -> Callable[[Path], Splits]:
    return one_file(kind, lambda place: _json_files(place, kind))


def _cvat_files(place: Path) -> list[Path]:
    return [path for path in visible(place, "*.xml") if xml_kind(path) == "cvat"]


def _cvat(folder: Path) -> Splits:
    splits = one_file("cvat", _cvat_files)(folder)
    return _cvat_parts(splits[WHOLE].path) if set(splits) == {WHOLE} else splits


def _cvat_parts(path: Path) -> Splits:
    """The subsets of a project, whose images are in one file."""
    names = cvat_subsets(path)
    if set(names) <= set(UNSPLIT):
        return {WHOLE: Found("cvat", path)}
    return {SAME_SPLIT.get(n.lower(), n.lower()): Found("cvat", path, n) for n in names}


def _table(folder: Path) -> Splits:
    """One CSV in each split's folder, or several in one whose names say the split."""

    def tables(place: Path) -> list[tuple[str, Path]]:
        return [(kind, path) for path in visible(place, "*.[ct]sv") if (kind := csv_kind(path))]

    def find(place: Path) -> Found | None:
        return next((Found(kind, path) for kind, path in tables(place)), None)

    here: Splits = {}
    for home in (folder, folder / "annotations", folder / "labels"):
        for kind, path in tables(home):
            taken = here.setdefault(split_named(path.stem), Found(kind, path)).path
            if taken != path:
                logger.info(_LEFT_OUT, folder, taken.name, path.name, kind)
    if set(here) == {WHOLE} and here[WHOLE].kind == "csv":
        return table_parts(here[WHOLE].path)
    return here or by_split(folder, find)


def _supervisely(folder: Path) -> Splits:
    splits: Splits = {}
    for name in supervisely_datasets(folder):
        splits.setdefault(split_named(name), Found("supervisely", folder, name or None))
    if len(splits) == 1 and WHOLE in splits:
        return {WHOLE: Found("supervisely", folder)}
    return splits


def _text(kind: str) -> Callable[[Path], Splits]:
    def find(place: Path) -> Found | None:
        return Found(kind, place) if label_folder(place, kind) else None

    return lambda folder: by_split(folder, find)


def _usual_name(split: str) -> str:
    plain = SAME_SPLIT.get(split.lower(), split.lower())
    return plain if split_named(plain) == plain else split


def _named(kind: str, names: Callable[[Path], list[str]]) -> Callable[[Path], Splits]:
    def layout(folder: Path) -> Splits:
        known = {s: WHOLE if s in ("", *UNSPLIT) else _usual_name(s) for s in names(folder)}
        return {name: Found(kind, folder, s or None) for s, name in known.items()}

    return layout


def _hugging_face(folder: Path) -> Splits:
    return {SAME_SPLIT.get(s, s): Found("hf", folder, s) for s in hugging_face_splits(folder)}


def _shards(folder: Path) -> Splits:
    def find(place: Path) -> Found | None:
        return Found("wds", place) if any(map(is_shard, visible(place, "*.tar"))) else None

    here = {split: Found("wds", path) for split, path in shard_patterns(folder).items()}
    return here or by_split(folder, find)


def _widerface(folder: Path) -> Splits:
    return {split: Found("widerface", folder, split) for split in widerface_files(folder)}


# Kinds whose one file may hold several splits.
_PARTS = {"cvat": _cvat_parts, "csv": table_parts}

_LAYOUTS: tuple[Callable[[Path], Splits], ...] = (
    _roboflow,
    _yolo,
    _voc,
    _cvat,
    _coco,
    _one_json("panoptic"),
    _one_json("datumaro"),
    _supervisely,
    _one_json("labelstudio"),
    _one_json("via"),
    _one_json("createml"),
    _labelme,
    _table,
    _widerface,
    *map(_text, LABEL_FOLDERS),
    _named("masks", mask_splits),
    _named("semantic", split_names),
    _hugging_face,
    _shards,
)
