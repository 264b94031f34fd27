"""Files that the tools' own writers made are read with the objects that were put in.

supervision comes with the extra [track]. The others are in none of the extras: datumaro takes
OpenCV back to version 4, label-studio-sdk numpy to 2.2, too, and labelme brings Qt. Install them in
an environment of their own to run these tests: pip install datumaro labelme label-studio-sdk.
"""

import io
import json

import numpy as np
import pytest
from PIL import Image

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.structures import BoxMode
from tests.data.spec_files import picture

# The tools leave files open and use what newer packages warn of.
pytestmark = [pytest.mark.usefixtures("own_folders"), pytest.mark.filterwarnings("ignore")]

# Image -> (class, xyxy) of its objects; 40 x 20 pixels each.
OBJECTS = {
    "a": [("dog", [2, 2, 12, 10]), ("cat", [20, 4, 36, 18])],
    "b": [("cat", [5, 6, 9, 16])],
    "c": [],
}
CLASSES = ["cat", "dog"]


def read(string):
    """Image name without ending -> (class, xyxy) of its objects, and the kinds of their masks."""
    names = MetadataCatalog.get(string).thing_classes
    found, masks = {}, set()
    for record in DatasetCatalog.get(string):
        with Image.open(record["file_name"]) as image:
            assert image.size == (record["width"], record["height"]) == (40, 20)
            stem = record["file_name"].rpartition("/")[2].partition(".")[0]
        found[stem] = []
        for obj in record["annotations"]:
            box = BoxMode.convert(list(obj["bbox"]), obj["bbox_mode"], BoxMode.XYXY_ABS)
            found[stem].append((names[obj["category_id"]], np.round(box, 2).tolist()))
            masks.add(type(obj.get("segmentation")))
    return {stem: sorted(objects) for stem, objects in found.items()}, masks


def expected(*, with_empty=True):
    return {stem: sorted(found) for stem, found in OBJECTS.items() if found or with_empty}


def shifted(obj):
    """VOC counts pixels from 1, which these tools leave to the reader."""
    label, (x0, y0, x1, y1) = obj
    return label, [x0 + 1, y0 + 1, x1, y1]


@pytest.mark.parametrize("layout", [
    "coco_instances", "voc_detection", "yolo", "datumaro", "kitti_detection", "open_images",
    "label_me", "cvat",
])  # fmt: skip
def test_datumaro(tmp_path, layout):
    pytest.importorskip("datumaro")
    from datumaro.components.annotation import Bbox

    write_datumaro(tmp_path / "work/d", layout, lambda box, **more: Bbox(*xywh(box), **more))
    found, masks = read("auto:d@train")
    if layout == "voc_detection":
        found = {stem: sorted(map(shifted, of)) for stem, of in found.items()}
    # The writers of some leave an image without objects out.
    lacking = ("open_images", "kitti_detection", "voc_detection")
    assert found == expected(with_empty=layout not in lacking)
    # LabelMe of MIT has polygons alone.
    assert masks == {list if layout == "label_me" else type(None)}


@pytest.mark.parametrize("layout", [
    "voc", "voc_segmentation", "mots_png", "kitti_segmentation", "open_images",
])  # fmt: skip
def test_datumaro_masks(tmp_path, layout):
    pytest.importorskip("datumaro")
    from datumaro.components.annotation import Mask

    def mask(box, **more):
        x0, y0, x1, y1 = box
        pixels = np.zeros((20, 40), bool)
        pixels[y0:y1, x0:x1] = True
        return Mask(pixels, attributes={"track_id": more["id"]}, **more)

    write_datumaro(tmp_path / "work/d", layout, mask)
    found, masks = read("auto:d@train")
    assert found == expected(with_empty=layout.startswith("voc"))
    assert masks == {dict}


def xywh(box):
    x0, y0, x1, y1 = box
    return x0, y0, x1 - x0, y1 - y0


def write_datumaro(home, layout, annotation):
    """Let Datumaro write the objects, each by a function of its box."""
    import datumaro
    from datumaro.components.media import Image as Media

    items = [
        datumaro.DatasetItem(
            id=stem,
            subset="train",
            media=Media.from_numpy(data=np.full((20, 40, 3), 9, np.uint8)),
            annotations=[
                annotation(box, label=CLASSES.index(label), id=i, group=i)
                for i, (label, box) in enumerate(found, start=1)
            ],
        )
        for stem, found in OBJECTS.items()
    ]
    dataset = datumaro.Dataset.from_iterable(items, categories=CLASSES)
    dataset.export(str(home), layout, save_media=True)


@pytest.mark.parametrize("layout", ["coco", "yolo", "pascal_voc"])
@pytest.mark.parametrize("has_masks", [False, True])
def test_supervision(tmp_path, layout, has_masks):
    supervision = pytest.importorskip("supervision")
    images, annotations = {}, {}
    for stem, found in OBJECTS.items():
        path = str(picture(tmp_path / f"in/{stem}.jpg", size=(40, 20)))
        images[path] = np.zeros((20, 40, 3), np.uint8)
        boxes = np.array([box for _, box in found], float).reshape(-1, 4)
        masks = np.zeros((len(found), 20, 40), bool)
        for mask, (x0, y0, x1, y1) in zip(masks, boxes.astype(int), strict=True):
            mask[y0:y1, x0:x1] = True
        annotations[path] = supervision.Detections(
            xyxy=boxes,
            mask=masks if has_masks else None,
            class_id=np.array([CLASSES.index(label) for label, _ in found], int),
        )
    dataset = supervision.DetectionDataset(CLASSES, list(images), annotations)
    home = tmp_path / "work/s"
    if layout == "coco":
        dataset.as_coco(str(home / "images"), str(home / "annotations.json"))
    elif layout == "yolo":
        dataset.as_yolo(str(home / "images"), str(home / "labels"), str(home / "data.yaml"))
    else:
        dataset.as_pascal_voc(str(home / "JPEGImages"), str(home / "Annotations"))
    found, masks = read("auto:s")
    assert found.keys() == expected().keys()
    for stem, objects in expected().items():
        assert [label for label, _ in found[stem]] == [label for label, _ in objects]
        # Outlines go through the middle of the last pixels.
        boxes = [[box for _, box in of] for of in (found[stem], objects)]
        np.testing.assert_allclose(*boxes, atol=1.01 if has_masks else 0.01)
    assert (list in masks) == (has_masks and layout != "coco") or layout == "coco"


def test_labelme(tmp_path):
    labelme = pytest.importorskip("labelme")
    is_new = labelme.__version__ >= "6"
    label_file = pytest.importorskip("labelme._label_file" if is_new else "labelme.label_file")
    home = tmp_path / "work/l"
    home.mkdir(parents=True)
    for stem, found in OBJECTS.items():
        stream = io.BytesIO()
        Image.new("RGB", (40, 20)).save(stream, format="JPEG")
        (home / f"{stem}.jpg").write_bytes(stream.getvalue())
        shapes = [
            {"label": label, "points": [box[:2], box[2:]], "shape_type": "rectangle",
             "group_id": None, "flags": {}, "description": "", "mask": None}
            for label, box in found
        ]  # fmt: skip
        # The arguments are named in another way from version 6 on.
        target = str(home / f"{stem}.json")
        label_file.LabelFile().save(target, shapes, f"{stem}.jpg", 20, 40, stream.getvalue())
    assert read("auto:l") == (expected(), {type(None)})
    for path in home.glob("*.jpg"):
        path.unlink()
    assert {stem.partition("-")[0]: of for stem, of in read("labelme:l")[0].items()} == expected()


def label_studio_tasks():
    for number, (stem, found) in enumerate(OBJECTS.items(), start=1):
        result = []
        for place, (label, (x0, y0, x1, y1)) in enumerate(found):
            value = {"x": x0 / 0.4, "y": y0 / 0.2, "width": (x1 - x0) / 0.4}
            value |= {"height": (y1 - y0) / 0.2, "rotation": 0, "rectanglelabels": [label]}
            result.append({
                "id": f"r{place}", "type": "rectanglelabels", "value": value, "to_name": "image",
                "from_name": "label", "original_width": 40, "original_height": 20,
                "image_rotation": 0,
            })  # fmt: skip
        annotation = {"id": number, "result": result, "was_cancelled": False}
        yield {"id": number, "data": {"image": f"{stem}.jpg"}, "annotations": [annotation]}


@pytest.mark.parametrize("layout", ["COCO", "YOLO", "VOC", "JSON", "JSON_MIN"])
def test_label_studio(tmp_path, layout):
    """Its own JSON says the same as what its converter makes of it."""
    converter = pytest.importorskip("label_studio_sdk.converter")
    config = (
        '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">'
        '<Label value="cat"/><Label value="dog"/></RectangleLabels></View>'
    )
    source, home = tmp_path / "in", tmp_path / "work/ls"
    for stem in OBJECTS:
        picture(source / f"{stem}.jpg", size=(40, 20))
        picture(home / f"images/{stem}.jpg", size=(40, 20))
    (source / "tasks.json").write_text(json.dumps(list(label_studio_tasks())))
    maker = converter.Converter(config, project_dir=str(source), upload_dir=str(source))
    maker.convert(str(source / "tasks.json"), str(home), layout, is_dir=False)
    found, masks = read("auto:ls")
    if layout == "VOC":
        found = {stem: sorted(map(shifted, of)) for stem, of in found.items()}
    # The converter leaves tasks without regions out.
    assert {stem: of for stem, of in found.items() if of} == expected(with_empty=False)
    assert masks == {type(None)}
