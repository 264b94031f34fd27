"""Files for all images together, written at the end from what was noted of each image.

A noted image has "name" and what `Result.to_dict` gives.
"""

import csv
import json
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from d2lite.structures.masks import rle
from d2lite.utils.file_io import atomic_write, write_json_file

from ..exchange import coco_object, coco_result

Entry = dict[str, Any]


def write_json(entries: Iterable[Entry], path: Path, class_names: Sequence[str]) -> None:
    """A list of images, each with its objects, see `Result.to_dict`."""
    with atomic_write(path) as file:
        file.write("[")
        for number, entry in enumerate(entries):
            kept = {key: value for key, value in entry.items() if key != "stamp"}
            file.write((",\n" if number else "\n") + json.dumps(kept))
        file.write("\n]\n")


def write_coco_results(entries: Iterable[Entry], path: Path, class_names: Sequence[str]) -> None:
    """A list of COCO results; the id of an image is its name."""
    with atomic_write(path) as file:
        results = [
            coco_result(found, entry["name"]) for entry in entries for found in entry["objects"]
        ]
        json.dump(results, file)


def write_coco(entries: Iterable[Entry], path: Path, class_names: Sequence[str]) -> None:
    """A COCO dataset with scores; file names are relative to the file."""
    images: list[Entry] = []
    annotations: list[Entry] = []
    for number, entry in enumerate(entries, 1):
        size = {key: entry[key] for key in ("width", "height")}
        images.append({"id": number, "file_name": _relative(entry["path"], path.parent), **size})
        for found in entry["objects"]:
            made = coco_object(found)
            made["category_id"] += 1  # COCO's numbers begin at 1
            area = made["bbox"][2] * made["bbox"][3]
            if "segmentation" in made:
                area = rle.area(made["segmentation"])
            if "keypoints" in made:
                # In a dataset, the third number is 2 for visible, not a score.
                made["keypoints"][2::3] = [2] * (len(made["keypoints"]) // 3)
            ids = {"id": len(annotations) + 1, "image_id": number}
            annotations.append({**ids, **made, "area": area, "iscrowd": 0})
    categories = [{"id": number, "name": name} for number, name in enumerate(class_names, 1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write_json_file(path, content)


def _relative(path: str, folder: Path) -> str:
    if "://" in path or not os.path.exists(path):
        return path
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        # Another drive of Windows.
        return os.path.abspath(path)


def write_csv(entries: Iterable[Entry], path: Path, class_names: Sequence[str]) -> None:
    """A row for each object."""
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "name", "score", "x0", "y0", "x1", "y1", "mask_area", "track"])
        for entry in entries:
            for found in entry["objects"]:
                box = [f"{edge:.2f}" for edge in found["box"]]
                area = round(rle.area(found["mask"])) if "mask" in found else ""
                row = [entry["name"], found["name"], f"{found['score']:.4f}", *box, area]
                writer.writerow([*row, found.get("track_id", "")])


def write_cvat(entries: Iterable[Entry], path: Path, class_names: Sequence[str]) -> None:
    """The format "CVAT for images 1.1": masks where there are any, else boxes."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    meta = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    labels = ElementTree.SubElement(meta, "labels")
    for name in class_names:
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        ElementTree.SubElement(label, "attributes")
    for number, entry in enumerate(entries):
        facts = {"id": number, "name": Path(entry["path"]).name or entry["name"]}
        size = {"width": entry["width"], "height": entry["height"]}
        image = ElementTree.SubElement(root, "image", _texts({**facts, **size}))
        for found in entry["objects"]:
            _cvat_shape(image, found)
    ElementTree.indent(root)
    with atomic_write(path) as file:
        file.write('<?xml version="1.0" encoding="utf-8"?>\n')
        file.write(ElementTree.tostring(root, encoding="unicode"))


def _texts(values: Entry) -> dict[str, str]:
    return {key: str(value) for key, value in values.items()}


def _cvat_shape(image: ElementTree.Element, found: Entry) -> None:
    common = {"label": found["name"], "source": "auto", "occluded": 0, "z_order": 0}
    if "mask" in found and rle.area(found["mask"]):
        left, top, width, height = (int(edge) for edge in rle.box_xywh(found["mask"]))
        bits = rle.decode(found["mask"])[top : top + height, left : left + width].reshape(-1)
        # Runs along the rows, which begin with one of zeros.
        runs = [len(list(run)) for _, run in groupby(bits.tolist())]
        listed = ", ".join(map(str, [0, *runs] if bits[0] else runs))
        place = {"left": left, "top": top, "width": width, "height": height}
        ElementTree.SubElement(image, "mask", _texts({**common, "rle": listed, **place}))
        return
    x0, y0, x1, y1 = found["box"]
    more = {}
    if "rotated_box" in found:
        x, y, width, height, degrees = found["rotated_box"]
        x0, y0, x1, y1 = x - width / 2, y - height / 2, x + width / 2, y + height / 2
        more = {"rotation": -degrees % 360}  # clockwise there
    edges = {"xtl": x0, "ytl": y0, "xbr": x1, "ybr": y1}
    ElementTree.SubElement(image, "box", _texts({**common, **edges, **more}))


OneFileWriter = Callable[[Iterable[Entry], Path, Sequence[str]], None]

# Format -> name of its file, and what writes it.
ONE_FILE: dict[str, tuple[str, OneFileWriter]] = {
    "json": ("predictions.json", write_json),
    "coco": ("predictions_coco.json", write_coco),
    "csv": ("predictions.csv", write_csv),
    "cvat": ("annotations.xml", write_cvat),
}
