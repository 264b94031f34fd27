"""Pascal VOC: one XML file an image, lists of images in text files."""

import logging
import os
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

from d2lite.data.catalog import DatasetCatalog, MetadataCatalog
from d2lite.data.classes import OrderedLoader, select_classes
from d2lite.data.records.faults import reading_faults
from d2lite.data.records.image_sizes import image_record, size_or_record_fault
from d2lite.structures import BoxMode
from d2lite.utils.errors import DataError, MissingFileError
from d2lite.utils.file_io import PathManager
from d2lite.utils.logger import log_first_n

from .image_finder import IMAGE_ENDINGS, ImageFinder
from .label_files import read_lines
from .location import missing_file
from .voc_xml import (
    VocObject,
    annotated_objects,
    read_annotation,
    stated_size,
    voc_labels,
)

__all__ = [
    "CLASS_NAMES",
    "VocFile",
    "load_voc_instances",
    "read_voc_files",
    "register_pascal_voc",
    "voc_labels",
    "voc_split_ids",
]

CLASS_NAMES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)


def load_voc_instances(
    dirname: str, split: str, class_names: list[str] | tuple[str, ...]
) -> list[dict[str, Any]]:
    """Read the boxes of a split.

    Objects marked difficult are kept, with their mark: training uses them, the VOC metric
    does not ask for them.

    Args:
        dirname: folder with Annotations, ImageSets/Main and JPEGImages.
        split: name of a text file in ImageSets/Main, without ".txt".
        class_names: the classes; a box's category id is its class's place here.

    Returns:
        One dict an image, in the order of the split file; image_id is the name in it. The image
        is NAME.jpg, or whatever JPEGImages has under this name or the XML's <filename>.

    Raises:
        MissingFileError: if the split file or an annotation file is not there.
        DataError: if a file cannot be read, or has a class that `class_names` lacks.
    """
    # A path with a remote prefix becomes a local folder once, not for every file.
    folder = Path(PathManager.get_local_path(os.path.join(dirname, "Annotations/")))
    images = os.path.join(dirname, "JPEGImages")
    files = [
        VocFile(image_id, folder / f"{image_id}.xml", os.path.join(images, f"{image_id}.jpg"))
        for image_id in voc_split_ids(dirname, split)
    ]
    finder = ImageFinder([Path(images), Path(dirname)]) if os.path.isdir(dirname) else None
    return read_voc_files(files, class_names, f"{dirname}, split {split!r}", finder)


class VocFile(NamedTuple):
    """One image: its id in the dataset dict, its annotation file, and where it is likely to be."""

    image_id: str | int
    path: Path
    image: str


def read_voc_files(
    files: Iterable[VocFile],
    class_names: Sequence[str],
    where: str,
    finder: ImageFinder | None = None,
) -> list[dict[str, Any]]:
    """Read annotation files.

    Args:
        files: one for each image.
        class_names: the classes; a box's category id is its class's place here.
        where: what they are, for messages.
        finder: looks for images that are not in their likely place; None does not look.

    Returns:
        One dict an image, in their order.

    Raises:
        MissingFileError: if an annotation file is not there.
        DataError: if a file cannot be read, or has a class that `class_names` lacks.
    """
    unknown: Counter[str] = Counter()
    number_of = {label: i for i, label in enumerate(class_names)}
    records, seen = [], set[str | int]()
    with reading_faults(where) as faults:
        for file in files:
            if file.image_id in seen:
                faults.add("repeated_image", f"{where}: {file.image_id}")
                continue
            seen.add(file.image_id)
            try:
                root = read_annotation(file.path)
            except (MissingFileError, DataError) as err:
                faults.refuse("unreadable_annotations", str(err), err)
                continue
            image = _image_of(root, file, finder)
            size = stated_size(root) or size_or_record_fault(_local(image), faults)
            if size is None:
                continue
            objects = list(annotated_objects(root, file.path, faults))
            unknown.update(obj.name for obj in objects if obj.name not in number_of)
            annotations = [_as_dict(obj, number_of) for obj in objects]
            records.append(image_record(image, file.image_id, size, annotations=annotations))
    if unknown:
        listed = ", ".join(f"{label!r} ({count})" for label, count in unknown.most_common())
        raise DataError(
            f"{where}, has objects of classes that are not in the given list: "
            f"{listed}. The list is: {', '.join(class_names)}. Register the dataset with "
            "class_names that hold every class of the annotations."
        )
    log_first_n(logging.INFO, f"{where}: {len(records)} images in VOC's format", key="message")
    return records


def voc_split_ids(dirname: str | os.PathLike[str], split: str) -> list[str]:
    """The image names of a split, as the annotation files have them.

    A second column, as class-wise lists have it, is ignored. A line may also be the path of an
    image, have its ending or another case, and the name may have blanks: the annotation files
    decide.
    """
    listing = os.path.join(dirname, "ImageSets", "Main", f"{split}.txt")
    try:
        lines = read_lines(PathManager.get_local_path(listing))
    except FileNotFoundError as err:
        raise missing_file("VOC annotations", listing) from err
    folder = os.path.join(dirname, "Annotations")
    files = os.listdir(folder) if os.path.isdir(folder) else []
    stems = {Path(file).stem for file in files if file.lower().endswith(".xml")}
    # Windows does not tell 0AF from 0af.
    by_case = {stem.casefold(): stem for stem in stems}
    ids = (_listed_id(line, folder) for line in lines)
    return [i if i in stems else by_case.get(i.casefold(), i) for i in ids]


def _listed_id(line: str, folder: str) -> str:
    first = line.split()[0]
    tried = []
    for text in (line, first):
        path = PureWindowsPath(text)
        stem = path.stem if path.suffix.lower() in IMAGE_ENDINGS else path.name
        tried += [text, (path.parent / stem).as_posix(), stem]
    if tried == [line] * len(tried):
        return line
    endings = (".xml", ".XML")
    is_there = (
        any(PathManager.isfile(os.path.join(folder, t + e)) for e in endings) for t in tried
    )
    return next((t for t, found in zip(tried, is_there, strict=True) if found), tried[-1])


def _image_of(root: ElementTree.Element, file: VocFile, finder: ImageFinder | None) -> str:
    """The path of the image; the likely one where none is found."""
    if finder is None or os.path.isfile(file.image):
        return file.image
    own = file.image_id if isinstance(file.image_id, str) else file.image.removesuffix(".jpg")
    names = (own, root.findtext("filename"), root.findtext("path"))
    found = (finder.find(name.strip()) for name in names if name and name.strip())
    return next((str(image) for image in found if image is not None), file.image)


def _local(image: str) -> Path:
    return Path(PathManager.get_local_path(image) if PathManager.isfile(image) else image)


def _as_dict(obj: VocObject, number_of: Mapping[str, int]) -> dict[str, Any]:
    x0, y0, x1, y1 = obj.corners
    mask = {} if obj.outline is None else {"segmentation": [obj.outline]}
    return {
        "category_id": number_of.get(obj.name, -1),
        # VOC counts pixels from 1 and names the last one inside, so the first edge is one lower:
        # pixels 1 to 5 span [0, 5).
        "bbox": [x0 - 1, y0 - 1, x1, y1],
        "bbox_mode": BoxMode.XYXY_ABS,
        "difficult": obj.difficult,
        **mask,
    }


def register_pascal_voc(
    name: str,
    dirname: str,
    split: str,
    year: int,
    class_names: Sequence[str] = CLASS_NAMES,
) -> None:
    """Register a dataset in VOC's layout.

    Args:
        name: how configurations will call it.
        dirname: folder with Annotations, ImageSets/Main and JPEGImages; read at first use.
        split: name of a text file in ImageSets/Main, without ".txt".
        year: 2007 chooses the 11-point metric of that year, 2012 the area under the curve.
        class_names: every class of the annotations.
    """
    dirname, class_names = os.fspath(dirname), list(class_names)
    metadata = MetadataCatalog.get(name)

    def load() -> list[dict[str, Any]]:
        own = metadata.get("own_classes", metadata.thing_classes)
        records = load_voc_instances(dirname, split, own)
        return select_classes(records, own, metadata.thing_classes)

    DatasetCatalog.register(name, OrderedLoader(load))
    metadata.set(
        thing_classes=class_names,
        dirname=dirname,
        year=year,
        split=split,
        evaluator_type="pascal_voc",
    )
