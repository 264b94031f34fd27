"""Files as exporters write them: read as what they mean, or refused with what to do."""

import json

import pytest

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.checking import check_dataset
from d2lite.data.records.faults import collecting_faults
from d2lite.structures import BoxMode
from d2lite.utils.errors import DataError
from tests.data.spec_files import coco, picture, voc, write

pytestmark = pytest.mark.usefixtures("own_folders")

VOC = (
    "<annotation><size><width>20</width><height>10</height></size><object><name>cat</name>"
    "<bndbox><xmin>3</xmin><ymin>3</ymin><xmax>8</xmax><ymax>8</ymax></bndbox></object></annotation>"
)
TASK = {"id": 1, "data": {"image": "a.jpg"}}
REGION = {"type": "rectanglelabels", "original_width": 20, "original_height": 10}
PLACE = {"x": 10, "y": 10, "width": 50, "height": 50, "rotation": 0}


def objects(string):
    """(name of the image file, class, xyxy, has a mask) of each object of images that are there."""
    with collecting_faults() as faults:
        records = DatasetCatalog.get(string)
    assert not faults.counts, faults.summary()
    names = MetadataCatalog.get(string).thing_classes
    found = []
    for record in records:
        with open(record["file_name"], "rb"):
            name = record["file_name"].rpartition("/")[2]
        for obj in record["annotations"]:
            box = BoxMode.convert(list(obj["bbox"]), obj["bbox_mode"], BoxMode.XYXY_ABS)
            label = names[obj["category_id"]]
            found.append((name, label, [round(v, 3) for v in box], "segmentation" in obj))
    return found


def edited(path, **changes):
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        del annotation["segmentation"]
        annotation.update(changes)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("box", [
    "[2, 2, 6, 6]", "2 2 6 6", "2.0,2.0,6.0,6.0", [[2, 2, 6, 6]],
    {"x": 2, "y": 2, "w": 6, "h": 6}, {"x": "2", "y": 2, "width": 6, "height": 6.0},
    {"x1": 2, "y1": 2, "x2": 8, "y2": 8}, {"x0": 2, "y0": 2, "x1": 8, "y1": 8},
    {"xmin": 2, "ymin": 2, "xmax": 8, "ymax": 8}, {"x_min": 2, "y_min": 2, "x_max": 8, "y_max": 8},
    {"left": 2, "top": 2, "width": 6, "height": 6},
])  # fmt: skip
def test_box_of_coco_in_another_form_is_the_same_box(home, box):
    edited(coco(home / "x.json", objects=[(0, 1)], files=["a.jpg"]), bbox=box)
    picture(home / "a.jpg")
    assert objects(f"coco:{home}/x.json") == [("a.jpg", "cat", [2, 2, 8, 8], False)]


def test_boxes_of_coco_in_shares_of_the_image_are_refused_even_where_there_are_few(home):
    path = coco(home / "x.json", objects=[(0, 1)], files=["a.jpg"])
    edited(path, bbox=[0.1, 0.2, 0.5, 0.5])
    picture(home / "a.jpg")
    assert len(objects(f"coco:{home}/x.json")) == 1  # in a small image it may be a speck
    content = json.loads(path.read_text())
    content["images"][0].update(height=480, width=640)
    (home / "large.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="COCO has pixels; multiply"):
        DatasetCatalog.get(f"coco:{home}/large.json")


@pytest.mark.parametrize("names", [
    ("c1.jpg", "d1.jpg"), ("C:\\pictures\\c1.jpg", "/home/me/d1.jpg"),
    ("https://store/c1.jpg?token=a.b", "https://store/d1.jpg"),
])  # fmt: skip
def test_images_of_coco_in_a_folder_for_each_class_are_found(home, names):
    coco(home / "x.json", objects=[(0, 1), (1, 2)], files=names)
    for path in ("photos/cat/c1.jpg", "photos/dog/d1.jpg"):
        picture(home / path)
    assert [found[:2] for found in objects(f"auto:{home}")] == [
        ("c1.jpg", "cat"),
        ("d1.jpg", "owl"),
    ]


def test_number_of_keypoints_that_differs_from_their_names_is_a_fault(home):
    path = coco(home / "x.json", names=["man"], objects=[(0, 1)], files=["a.jpg"])
    edited(path, keypoints=[3, 3, 2, 4, 4, 2], num_keypoints=2)
    content = json.loads(path.read_text())
    content["categories"][0]["keypoints"] = ["nose", "tail", "ear"]
    path.write_text(json.dumps(content))
    picture(home / "a.jpg")
    faults = check_dataset(f"coco:{path}").faults
    assert faults.counts == {"keypoints_differ": 1}
    assert "2 keypoints, and 3 names" in faults.examples["keypoints_differ"][0]


@pytest.mark.parametrize("text", [
    VOC.replace("<annotation>", '<annotation xmlns="http://a.b/c">'),
    VOC.replace("<", "<v:").replace("<v:/", "</v:").replace("ion>", 'ion xmlns:v="a">', 1),
    VOC.replace("object", "Object").replace("bndbox", "BndBox").replace("name>", "Name>"),
    VOC.replace("bndbox", "bbox"),
])  # fmt: skip
def test_tags_of_voc_may_have_a_namespace_other_case_or_another_name(home, text):
    picture(home / "JPEGImages/a.jpg")
    write(home / "Annotations/a.xml", text)
    assert objects(f"auto:{home}") == [("a.jpg", "cat", [2, 2, 8, 8], False)]


def test_box_of_voc_without_corners_is_told_with_what_it_has(home):
    picture(home / "a.jpg")
    write(home / "a.xml", VOC.replace("xmin", "x").replace("xmax", "w"))
    with collecting_faults() as faults:
        DatasetCatalog.get(f"voc:{home}")
    assert "bndbox has x, ymin, w, ymax" in faults.examples["malformed"][0]


@pytest.mark.parametrize("kind", ["voc", "auto"])
@pytest.mark.parametrize("has_lists", [True, False])
def test_split_val_of_voc_may_be_called_valid(home, has_lists, kind):
    if has_lists:
        voc(home, train={"a": ["cat"]}, valid={"b": ["owl"]})
    else:
        for split, name in (("train", "a"), ("valid", "b")):
            picture(home / split / f"{name}.jpg")
            write(home / split / f"{name}.xml", VOC)
    assert [found[0] for found in objects(f"{kind}:{home}@val")] == ["b.jpg"]


@pytest.mark.parametrize(("line", "label"), [
    ("2,2,8,2,8,8,2,8,plane,0", "plane"), ("2.0, 2.0, 8, 2, 8, 8, 2, 8, small car, 1", "small car"),
])  # fmt: skip
def test_labels_of_dota_may_have_commas(home, line, label):
    picture(home / "images/a.png")
    write(home / "labelTxt/a.txt", f"{line}\n")
    assert objects(f"auto:{home}") == [("a.png", label, [2, 2, 8, 8], True)]


def test_yolo_of_roboflow_with_corners_in_pixels(home):
    picture(home / "train/images/a.jpg")
    write(home / "train/labelTxt/a.txt", "2.0 2.0 8.0 2.0 8.0 8.0 2.0 8.0 cat 0\n")
    write(home / "data.yaml", "train: ../train/images\nval: ../valid/images\nnames: [cat]\n")
    assert objects(f"auto:{home}") == [("a.jpg", "cat", [2, 2, 8, 8], True)]


def test_visdrone_without_what_does_not_count(home):
    picture(home / "images/a.jpg")
    write(home / "annotations/a.txt", "2,2,6,6,1,4,0,0\n1,1,3,3,0,0,0,0\n1,1,3,3,0,11,0,0\n")
    assert objects(f"auto:{home}") == [("a.jpg", "car", [2, 2, 8, 8], False)]
    assert len(MetadataCatalog.get(f"auto:{home}").thing_classes) == 10


@pytest.mark.parametrize(("text", "label"), [
    ("ImageId,EncodedPixels\na.jpg,3 2 13 2\n", "object"),
    ("ImageId,ClassId,EncodedPixels\na.jpg,4,3 2 13 2\nb.jpg,,\n", "4"),
])  # fmt: skip
def test_masks_of_kaggle_run_down_the_columns(home, text, label):
    for name in "ab":
        picture(home / f"train/{name}.jpg")
    write(home / "train.csv", text)
    assert objects(f"auto:{home}") == [("a.jpg", label, [0, 2, 2, 4], True)]


@pytest.mark.parametrize("runs", ["0 3", "5 2 3 1", "3", "190 30", "x 1"])
def test_mask_of_kaggle_that_cannot_be_is_counted(home, runs):
    picture(home / "a.jpg")
    write(home / "x.csv", f"ImageId,EncodedPixels\na.jpg,{runs}\na.jpg,1 3\n")
    with collecting_faults() as faults:
        records = DatasetCatalog.get(f"csv:{home}/x.csv")
    assert len(records[0]["annotations"]) == 1
    assert faults.lost_objects == 1


def test_table_of_boxes_in_utf_16(home):
    picture(home / "a.jpg")
    table = "filename,class,xmin,ymin,xmax,ymax\r\na.jpg,cat,2,2,8,8\r\n"
    write(home / "x.csv", table.encode("utf-16"))
    assert objects(f"auto:{home}") == [("a.jpg", "cat", [2, 2, 8, 8], False)]


def test_image_inside_of_labelme_that_cannot_be_decoded_is_told(home):
    shape = {"label": "cat", "points": [[2, 2], [8, 8]], "shape_type": "rectangle"}
    for name in "ab":
        content = {"shapes": [shape], "imagePath": f"{name}.jpg", "imageData": "no picture"}
        write(home / f"{name}.json", json.dumps(content))
    with pytest.raises(DataError, match=r"imageData is not an image, and .*a.jpg does not exist"):
        DatasetCatalog.get(f"labelme:{home}")
    picture(home / "b.jpg")
    with collecting_faults() as faults:
        assert len(DatasetCatalog.get(f"labelme:{home}")) == 1
    assert faults.counts == {"unreadable_annotations": 1}


@pytest.mark.parametrize(("task", "why"), [
    ({**TASK, "annotations": []}, "none of its tasks is annotated,"),
    ({**TASK, "annotations": [], "predictions": [{"result": []}]}, "predictions alone"),
    ({"id": 1, "data": {"text": "Hello"}, "annotations": [{"result": []}]}, "not about images"),
    ({**TASK, "annotations": [{"result": [{**REGION, "value": PLACE}]}]}, "without a label"),
    ({**TASK, "annotations": [{"result": [{"type": "choices", "value": {"choices": ["x"]}}]}]},
     "about whole images"),
])  # fmt: skip
def test_label_studio_without_objects_says_why(home, task, why):
    picture(home / "a.jpg")
    write(home / "x.json", json.dumps([task]))
    with pytest.raises(DataError, match=why):
        DatasetCatalog.get(f"auto:{home}")


@pytest.mark.parametrize(("files", "why"), [
    ({"x.csv": "image,id,label,annotator,annotation_id\n"}, "Label Studio's CSV: export its JSON"),
    ({"train/_classes.csv": "Pixel Value, Class\n0, background\n"}, "COCO Segmentation"),
    ({"train/metadata.jsonl": '{"file_name": "a.jpg", "text": "a cat"}'}, "hf:DIR"),
    ({"x.json": '[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]'},
     "predictions in the form of COCO's results"),
    ({"annotation.odgt": '{"ID": "a", "gtboxes": [{"fbox": [1, 2, 3, 4]}]}'}, "CrowdHuman"),
    ({"x.jsonl": '{"imageGcsUri": "gs://b/a.jpg"}'}, "Google Vertex AI"),
    ({"x.json": '{"videos": [{"file_names": ["a.jpg"]}], "annotations": []}'}, "YouTube-VIS"),
    ({"gt/gt.txt": "1,1,2,2,9,9,1,1,0.9\n"}, "as MOT and VisDrone have"),
    ({"a.json": '{"asset": {"name": "a"}, "regions": []}'}, "VoTT's own format"),
    ({"gtFine/a.json": "{}", "leftImg8bit/a.png": ""}, "holds gtFine/ and leftImg8bit/"),
    ({"labels/a.txt": "dog 2.0 2.0 12.0 10.0\n"}, "has a class and the numbers of a box"),
    ({"x.csv": "image,x1,y1,w,h,label\na.jpg,2,2,6,6,cat\n"}, "columns of the .csv file"),
    ({"labels.json": '{"classes": [], "labels": {"a": [{"bounding_box": []}]}}'}, "FiftyOne"),
    ({f"{name}/a.json": '{"images": [], "annotations": [], "categories": []}' for name in "cd"},
     r"a.json is read when it is named itself: coco:.*/a.json"),
])  # fmt: skip
def test_file_that_auto_does_not_read_is_told_with_what_to_do(home, files, why):
    picture(home / "a.jpg")
    for name, text in files.items():
        write(home / name, text)
    with pytest.raises(DataError, match=why) as caught:
        DatasetCatalog.get(f"auto:{home}")
    assert "neither the keys of COCO" not in str(caught.value)


@pytest.mark.parametrize("has_classes", [True, False])
def test_masks_without_their_images_are_told(home, has_classes):
    picture(home / "masks/a.png")
    if has_classes:
        write(home / "classes.txt", "cat\n")
    with pytest.raises(DataError, match=r"Its images are all in masks, .* are missing"):
        DatasetCatalog.get(f"auto:{home}")


def test_missing_image_of_label_studio_is_named_below_the_folder(home):
    region = {**REGION, "value": {**PLACE, "rectanglelabels": ["cat"]}}
    data = {"image": "/data/upload/1/a.jpg"}
    task = {"id": 1, "data": data, "annotations": [{"result": [region]}]}
    write(home / "x.json", json.dumps([task]))
    (record,) = DatasetCatalog.get(f"auto:{home}")
    assert record["file_name"] == f"{home}/data/upload/1/a.jpg"


CORNERS = "filename,class,x1,y1,x2,y2,x3,y3,x4,y4\n"
BOX = "filename,class,xmin,ymin,xmax,ymax\n"


@pytest.mark.parametrize(("table", "has_mask"), [
    ("a.jpg,2,2,8,8,cat,20,10", False),
    ("image,x0,y0,x1,y1,label\na.jpg,2,2,8,8,cat", False),
    ("frame,xmin,xmax,ymin,ymax,tag\na.jpg,2,8,2,8,cat", False),
    (f"{CORNERS}a.jpg,cat,2,5,5,2,8,5,5,8\n", True),
    (f"{CORNERS}a.jpg,cat,0.1,0.5,0.25,0.2,0.4,0.5,0.25,0.8\n", True),
    (f"{BOX}https://store/x/a.jpg?token=a.b,cat,2,2,8,8\n", False),
    (f"\n\n{BOX}a.jpg,cat,2,2,8,8\n", False),
    (f"{BOX}a.jpg,cat,2,2,8,8\n".replace("\n", "\r"), False),
])  # fmt: skip
def test_tables_of_corners_addresses_and_other_ends_of_lines(home, table, has_mask):
    picture(home / "images/a.jpg")
    write(home / "x.csv", table)
    assert objects(f"auto:{home}") == [("a.jpg", "cat", [2, 2, 8, 8], has_mask)]


def test_splits_of_a_longer_name_are_found_where_nothing_else_is(home):
    for split in ("train", "val"):
        picture(home / f"Set2019-DET-{split}/images/{split}.jpg")
        write(home / f"Set2019-DET-{split}/annotations/{split}.txt", "2,2,6,6,1,4,0,0\n")
    assert [found[0] for found in objects(f"auto:{home}@val")] == ["val.jpg"]


def test_images_of_the_same_names_are_those_of_the_split(home):
    for split in ("train", "val"):
        coco(home / f"{split}.json", objects=[(0, 1)], files=["a.jpg"])
        picture(home / split / "cat/a.jpg")
    for split in ("train", "val"):
        (record,) = DatasetCatalog.get(f"auto:{home}@{split}")
        assert record["file_name"] == str(home / split / "cat/a.jpg")


def test_voc_in_folders_that_are_not_splits_is_told_with_its_string(home):
    for folder in ("s1", "s2"):
        picture(home / folder / "a.jpg")
        write(home / folder / "a.xml", VOC)
    with pytest.raises(DataError, match=r"a\.xml is of Pascal VOC: name .* voc:.*/s"):
        DatasetCatalog.get(f"auto:{home}")
