"""Small datasets on disk in the layouts that people have, for the tests of dataset strings."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.records.faults import collecting_faults
from d2lite.structures import Boxes, BoxMode, Instances

SQUARE = [2.0, 2.0, 8.0, 2.0, 8.0, 8.0, 2.0, 8.0]


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def picture(path: Path, size=(20, 10), **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path, **options)
    return path


def coco(path: Path, names=("cat", "owl"), ids=None, objects=(), files=("a.jpg", "b.jpg"), **more):
    """A COCO file; objects are (image number, category id)."""
    ids = ids or range(1, len(names) + 1)
    content = {
        "images": [
            {"id": i, "file_name": name, "height": 10, "width": 20} for i, name in enumerate(files)
        ],
        "categories": [{"id": i, "name": name} for i, name in zip(ids, names, strict=True)],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": category,
                "bbox": [2, 2, 6, 6],
                "segmentation": [SQUARE],
            }
            for number, (image, category) in enumerate(objects, start=1)
        ],
        **more,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def voc(root: Path, ending=".jpg", **splits):
    """A VOC folder; each split is image name -> its labels."""
    for split, images in splits.items():
        for name, labels in images.items():
            picture(root / "JPEGImages" / f"{name}{ending}")
            things = "".join(
                f"<object><name>{label}</name><bndbox><xmin>3</xmin><ymin>3</ymin>"
                "<xmax>8</xmax><ymax>8</ymax></bndbox></object>"
                for label in labels
            )
            size = "<size><width>20</width><height>10</height></size>"
            (root / "Annotations").mkdir(exist_ok=True)
            text = f"<annotation>{size}{things}</annotation>"
            (root / "Annotations" / f"{name}.xml").write_text(text)
        (root / "ImageSets/Main").mkdir(parents=True, exist_ok=True)
        (root / f"ImageSets/Main/{split}.txt").write_text("".join(f"{n}\n" for n in images))
    return root


def yolo(root: Path, names="[cat, owl]", train="images/train", val="images/val", **labels):
    """A YOLO folder; each keyword is "train_a": the lines of images/train/a.jpg."""
    for key, lines in labels.items():
        split, _, name = key.partition("_")
        picture(root / f"images/{split}/{name}.jpg")
        if lines is not None:
            path = root / f"labels/{split}/{name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(lines)
    file = root / "data.yaml"
    root.mkdir(exist_ok=True)
    file.write_text(f"names: {names}\ntrain: {train}\nval: {val}\n")
    return file


def labelme(path: Path, *shapes, **more):
    """A LabelMe file and its image."""
    picture(path.with_suffix(".jpg"))
    content = {"imagePath": path.with_suffix(".jpg").name, "imageHeight": 10, "imageWidth": 20}
    path.write_text(json.dumps({**content, "shapes": list(shapes), **more}))
    return path


def labels_of(name):
    """The class names of the objects of each image."""
    records = DatasetCatalog.get(name)
    classes = MetadataCatalog.get(name).thing_classes
    return [[classes[o["category_id"]] for o in record["annotations"]] for record in records]


def detections(image_id, classes):
    """Input and output of a model that puts boxes of these classes where SQUARE is."""
    instances = Instances((10, 20))
    instances.pred_boxes = Boxes(torch.tensor([[2.0, 2.0, 8.0, 8.0]]).repeat(len(classes), 1))
    instances.scores = torch.full((len(classes),), 0.9)
    instances.pred_classes = torch.tensor(classes)
    return [{"image_id": image_id}], [{"instances": instances}]


def objects(string):
    """(class, xyxy, has a mask) of each object, whose images are all there."""
    with collecting_faults() as faults:
        records = DatasetCatalog.get(string)
    assert not {"missing_image", "malformed", "unknown_category"} & faults.counts.keys()
    for record in records:
        with Image.open(record["file_name"]) as image:
            assert image.size == (record["width"], record["height"])
    names = MetadataCatalog.get(string).thing_classes
    found = [obj for record in records for obj in record["annotations"]]
    boxes = [BoxMode.convert(list(o["bbox"]), o["bbox_mode"], BoxMode.XYXY_ABS) for o in found]
    return [
        (names[obj["category_id"]], np.round(box).tolist(), "segmentation" in obj)
        for obj, box in zip(found, boxes, strict=True)
    ]
