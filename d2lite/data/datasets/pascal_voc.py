"""Pascal VOC: one XML file an image, lists of images in text files."""

import logging
import os
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from d2lite.data.catalog import DatasetCatalog, MetadataCatalog
from d2lite.data.classes import OrderedLoader
from d2lite.data.faults import FaultLog, reading_faults
from d2lite.structures import BoxMode
from d2lite.utils.errors import DataError, MissingFileError
from d2lite.utils.file_io import PathManager

from .location import missing_file

__all__ = [
    "CLASS_NAMES",
    "VocFile",
    "load_voc_instances",
    "read_voc_files",
    "register_pascal_voc",
    "voc_labels",
    "voc_split_ids",
]

logger = logging.getLogger(__name__)

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
        One dict an image, in the order of the split file; image_id is the file's name.

    Raises:
        MissingFileError: if the split file or an annotation file is not there.
        DataError: if a file cannot be read, or has a class that `class_names` lacks.
    """
    # A path behind a remote prefix becomes a local folder once, not for every file.
    folder = Path(PathManager.get_local_path(os.path.join(dirname, "Annotations/")))
    files = [
        VocFile(
            image_id,
            folder / f"{image_id}.xml",
            os.path.join(dirname, "JPEGImages", f"{image_id}.jpg"),
        )
        for image_id in voc_split_ids(dirname, split)
    ]
    return read_voc_files(files, class_names, f"{dirname}, split {split!r}")


class VocFile(NamedTuple):
    """One image: its id in the dataset dict, its annotation file and its own path."""

    image_id: str | int
    path: Path
    image: str


def read_voc_files(
    files: Iterable[VocFile], class_names: Sequence[str], where: str
) -> list[dict[str, Any]]:
    """Read annotation files.

    Args:
        files: one for each image.
        class_names: the classes; a box's category id is its class's place here.
        where: what they are, for messages.

    Returns:
        One dict an image, in their order.

    Raises:
        MissingFileError: if an annotation file is not there.
        DataError: if a file cannot be read, or has a class that `class_names` lacks.
    """
    strangers: Counter[str] = Counter()
    number_of = {label: i for i, label in enumerate(class_names)}
    records = []
    with reading_faults(where) as faults:
        for image_id, path, image in files:
            try:
                root = _read_xml(path)
                height, width = _image_size(root, path, image)
            except (MissingFileError, DataError) as err:
                faults.refuse("unreadable_annotations", str(path), err)
                continue
            found = (_noted_object(element, path, faults) for element in root.iter("object"))
            boxes = [obj for obj in found if obj is not None]
            strangers.update(label for label, _, _ in boxes if label not in number_of)
            records.append(
                {
                    "file_name": image,
                    "image_id": image_id,
                    "height": height,
                    "width": width,
                    "annotations": [
                        {
                            "category_id": number_of.get(label, -1),
                            "bbox": box,
                            "bbox_mode": BoxMode.XYXY_ABS,
                            "difficult": difficult,
                        }
                        for label, box, difficult in boxes
                    ],
                }
            )
    if strangers:
        listed = ", ".join(f"{label!r} ({count})" for label, count in strangers.most_common())
        raise DataError(
            f"{where}, has objects of classes that are not in the given list: "
            f"{listed}. The list is: {', '.join(class_names)}. Register the dataset with "
            "class_names that hold every class of the annotations."
        )
    logger.info("%s: %d images in VOC's format", where, len(records))
    return records


def voc_split_ids(dirname: str | os.PathLike[str], split: str) -> list[str]:
    """The image names of a split; a second column, as class-wise lists have, is ignored.

    A name may have blanks: it is the whole line, if there is an annotation file of that name.
    """
    listing = os.path.join(dirname, "ImageSets", "Main", f"{split}.txt")
    try:
        text = Path(PathManager.get_local_path(listing)).read_text(encoding="utf-8")
    except FileNotFoundError as err:
        raise missing_file("VOC annotations", listing) from err
    ids = []
    for line in filter(None, map(str.strip, text.splitlines())):
        first = line.split()[0]
        whole = os.path.join(dirname, "Annotations", f"{line}.xml")
        ids.append(line if first != line and PathManager.isfile(whole) else first)
    return ids


def voc_labels(path: Path) -> set[str]:
    """The class names in one annotation file."""
    return {(o.findtext("name") or "").strip() for o in _read_xml(path).iter("object")}


def _read_xml(path: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(path).getroot()
    except FileNotFoundError as err:
        raise missing_file("VOC annotations", path) from err
    except ElementTree.ParseError as err:
        raise DataError(f"{path} is not valid XML: {err}.") from err


def _image_size(root: ElementTree.Element, path: Path, image: str) -> tuple[int, int]:
    """(height, width) as the XML says, or of the image where it says nothing."""
    try:
        size = int(root.findtext("size/height") or 0), int(root.findtext("size/width") or 0)
    except ValueError as err:
        raise DataError(f"{path} has an image size that is not a number: {err}.") from err
    if min(size) > 0:
        return size
    if not PathManager.isfile(image):
        raise missing_file("VOC images", image)
    with Image.open(PathManager.get_local_path(image)) as picture:
        return picture.height, picture.width


def _noted_object(
    element: ElementTree.Element, path: Path, faults: FaultLog
) -> tuple[str, list[float], int] | None:
    """`_read_object`, or None for one that the book has taken down."""
    try:
        return _read_object(element, path)
    except DataError as err:
        faults.refuse("malformed", str(err), err)
        return None


def _read_object(element: ElementTree.Element, path: Path) -> tuple[str, list[float], int]:
    """Class name, xyxy box in pixels and the mark "difficult" of one object."""
    label = (element.findtext("name") or "").strip()
    try:
        box = (element.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax"))
        corners = [float(edge or "") for edge in box]
        difficult = int(element.findtext("difficult") or 0)
    except ValueError as err:
        raise DataError(f"{path}: the box of object {label!r} is incomplete: {err}.") from err
    # VOC counts pixels from 1 and names the last one inside, so the first edge lies one lower:
    # pixels 1 to 5 span [0, 5).
    return label, [corners[0] - 1, corners[1] - 1, corners[2], corners[3]], difficult


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
    loader = OrderedLoader(lambda: load_voc_instances(dirname, split, metadata.thing_classes))
    DatasetCatalog.register(name, loader)
    metadata.set(
        thing_classes=class_names,
        dirname=dirname,
        year=year,
        split=split,
        evaluator_type="pascal_voc",
    )
