"""Writers: one split of a labelled set into the files of each format.

A writer takes the set, the names of its images, the folder and the split's name. It counts what
the format cannot hold, and returns the dataset string that reads what it wrote.
"""

import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from d2lite.utils.file_io import atomic_write, write_file, write_json_file
from d2lite.visualization.generic_mask import GenericMask

from .coco_writer import coco_content
from .labelled_set import LabelledSet
from .labelme_writer import write_labelme
from .object_kinds import (
    BOXES,
    DIFFICULT,
    FLIPS,
    MASKS,
    Record,
    has_mask,
    plain_objects,
    to_xyxy,
)
from .yolo_writer import write_yolo

Writer = Callable[[LabelledSet, Sequence[str], Path, str, Counter[str]], str]


def image_folder(kind: str, split: str) -> str:
    """Where the images of a split lie, below the folder of the dataset."""
    return {"voc": "JPEGImages", "yolo": f"images/{split}", "masks": f"{split}/images"}.get(
        kind, split
    )


def write_coco(
    data: LabelledSet, names: Sequence[str], folder: Path, split: str, lost: Counter[str]
) -> str:
    """annotations/instances_SPLIT.json; everything but VOC's marks is kept."""
    lost[FLIPS] += data.num_unnamed_flips
    path = folder / "annotations" / f"instances_{split}.json"
    write_json_file(path, coco_content(data, names, lost))
    return f"coco:{path}@{folder / split}"


def write_voc(
    data: LabelledSet, names: Sequence[str], folder: Path, split: str, lost: Counter[str]
) -> str:
    """Annotations/NAME.xml, ImageSets/Main/SPLIT.txt and labelmap.txt of CVAT; boxes alone."""
    used = set()
    for name, record in zip(names, data.records, strict=True):
        root = ElementTree.Element("annotation")
        _element(root, "folder", "JPEGImages")
        _element(root, "filename", name)
        size = ElementTree.SubElement(root, "size")
        for key, value in (("width", record["width"]), ("height", record["height"]), ("depth", 3)):
            _element(size, key, value)
        marks = sum(bool(obj.get("difficult")) for obj in record.get("annotations", ()))
        for obj in plain_objects(record, lost):
            lost[MASKS] += has_mask(obj)
            label = data.classes[obj["category_id"]]
            used.add(label)
            _voc_object(root, label, obj)
        lost[DIFFICULT] -= marks  # which this format has
        ElementTree.indent(root)
        path = folder / "Annotations" / f"{Path(name).stem}.xml"
        write_file(path, ElementTree.tostring(root, encoding="unicode"))
    # A line is name:colour:parts:actions, or begins with # and counts for nothing.
    if any(":" in label or label.startswith("#") for label in data.classes):
        lost["classes without objects"] += len(set(data.classes) - used)
    else:
        write_file(folder / "labelmap.txt", "".join(f"{label}:::\n" for label in data.classes))
    write_file(
        folder / "ImageSets" / "Main" / f"{split}.txt",
        "".join(f"{Path(name).stem}\n" for name in names),
    )
    return f"voc:{folder}@{split}"


def _element(parent: ElementTree.Element, tag: str, value: Any) -> None:
    ElementTree.SubElement(parent, tag).text = str(value)


def _voc_object(root: ElementTree.Element, label: str, obj: Record) -> None:
    element = ElementTree.SubElement(root, "object")
    _element(element, "name", label)
    _element(element, "difficult", int(obj.get("difficult", 0)))
    x0, y0, x1, y1 = (round(value, 6) for value in to_xyxy(obj))
    # The first pixel is number 1, and the last one inside is named: see pascal_voc.
    edges = {"xmin": x0 + 1, "ymin": y0 + 1, "xmax": x1, "ymax": y1}
    box = ElementTree.SubElement(element, "bndbox")
    for tag, value in edges.items():
        _element(box, tag, int(value) if value == int(value) else value)


def write_masks(
    data: LabelledSet, names: Sequence[str], folder: Path, split: str, lost: Counter[str]
) -> str:
    """SPLIT/masks/NAME/OBJECT_CLASS.png, white on black, and SPLIT/classes.txt."""
    home = folder / split
    (home / "masks").mkdir(parents=True, exist_ok=True)
    for name, record in zip(names, data.records, strict=True):
        for number, obj in enumerate(plain_objects(record, lost)):
            if not has_mask(obj):
                lost["objects without a mask"] += 1
                continue
            mask = GenericMask(obj["segmentation"], record["height"], record["width"])
            x0, y0, x1, y1 = mask.bbox()
            lost[BOXES] += bool(np.abs(np.subtract((x0, y0, x1, y1), to_xyxy(obj))).max() > 1)
            lost["outlines turned into pixels"] += isinstance(obj["segmentation"], list)
            path = home / "masks" / Path(name).stem / f"{number:04d}_{obj['category_id']}.png"
            with atomic_write(path, "wb") as file:
                Image.fromarray(mask.mask * np.uint8(255)).save(file, format="PNG")
    write_file(home / "classes.txt", "".join(f"{label}\n" for label in data.classes))
    return f"masks:{home}"


WRITERS: dict[str, Writer] = {
    "coco": write_coco,
    "voc": write_voc,
    "yolo": write_yolo,
    "labelme": write_labelme,
    "masks": write_masks,
}
