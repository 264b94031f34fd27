"""Files as tools and their versions vary them: each is read like the usual form of its layout."""

import base64
import io
import logging

import numpy as np
import pytest
from PIL import Image

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.records.faults import collecting_faults
from d2lite.utils.errors import ConfigError, DataError, MissingFileError
from tests.data.spec_files import objects

pytestmark = pytest.mark.usefixtures("own_folders")

LINE = "0 0.5 0.5 0.4 0.4\n"
YAML = "train: images\nval: images\nnames: [cat]\n"
RECTANGLE = {"x": 5, "y": 10, "width": 25, "height": 40, "rotation": 0}
SIZE = {"original_width": 40, "original_height": 20}


YOLO_BOX = [("cat", [12, 6, 28, 14], False)]


@pytest.mark.parametrize(("files", "split"), [
    ({"images/a.jpg": None, "labels/a.txt": "0, 0.5, 0.5, 0.4, 0.4\n", "data.yaml": YAML}, ""),
    ({"images/a.jpg": None, "labels/a.txt": LINE, "labels/classes.txt": "cat\n"}, ""),
    ({"images/train/a.jpg": None, "labels/train/a.txt": LINE, "labels/train/classes.txt": "cat\n"},
     "@train"),
    ({**{f"{split}/a.jpg": None for split in ("train", "valid")},
      **{f"{split}/a.txt": LINE for split in ("train", "valid")},
      **{f"{split}/_darknet.labels": "cat\n" for split in ("train", "valid")}}, "@val"),
    ({"obj_Validation_data/a.jpg": None, "obj_Validation_data/a.txt": LINE, "obj.names": "cat\n",
      "Validation.txt": "data/obj_Validation_data/a.jpg\n",
      "obj.data": "classes = 1\nValidation = data/Validation.txt\nnames = data/obj.names\n"},
     "@val"),
    ({"images/a.jpg": None, "images/b.png": None, "labels/a.txt": LINE,
      "data.yaml": "train: images/*.jpg\nnames: [cat]\n"}, "@train"),
    ({"x/images/a.jpg": None, "x/labels/a.txt": LINE,
      "data.yaml": "path: gone\ntrain: x\\*\\[ab].j*\nnames: [cat]\n"}, "@train"),
])  # fmt: skip
def test_labels_of_yolo(folder, files, split):
    assert objects(f"auto:{folder(files)}{split}") == YOLO_BOX


KITTI_LINE = "cat 0 0 0 {} 6 28 14 0 0 0 0 0 0 0\n"
VOC_TEXT = (
    "<annotation><object><name>cat</name><bndbox><xmin>{}</xmin><ymin>7</ymin>"
    "<xmax>28</xmax><ymax>14</ymax></bndbox></object></annotation>"
)


@pytest.mark.parametrize(("labels", "images", "text"), [
    ("label_2/{}.txt", "image_2/{}.jpg", KITTI_LINE),
    ("Annotations/{}.xml", "JPEGImages/{}.png", VOC_TEXT),
    ("Annotations/train/{}.xml", "Images/train/{}.jpg", VOC_TEXT),
])  # fmt: skip
def test_labels_in_folders_below_belong_to_the_images_there(folder, labels, images, text):
    names = ("a", "x/b", "y/b")
    files = {images.format(name): None for name in names}
    for number, name in enumerate(names):
        files[labels.format(name)] = text.format(12 + number)
    home = folder(files)
    found = {
        record["file_name"]: record["annotations"][0]["bbox"][0]
        for record in DatasetCatalog.get(f"auto:{home}")
    }
    shift = 0 if text == KITTI_LINE else 1  # VOC counts from 1
    wanted = {str(home / images.format(n)): 12 + i - shift for i, n in enumerate(names)}
    assert found == wanted


@pytest.mark.parametrize(
    ("kind", "labels", "text"),
    [
        ("voc", "Annotations/{}a.xml", VOC_TEXT.format(12)),
        ("dota", "labelTxt/{}a.txt", "1 1 9 1 9 9 1 9 cat 0\n"),
    ],
)
def test_old_labels_in_a_folder_below_without_images_are_passed_over(folder, kind, labels, text):
    images = {"voc": "JPEGImages", "dota": "images"}[kind]
    folder(
        {
            f"{images}/a.png": None,
            labels.format(""): text,
            labels.format("old/"): text.replace("cat", "wrong"),
        }
    )
    (record,) = DatasetCatalog.get(f"{kind}:set")
    assert len(record["annotations"]) == 1
    assert MetadataCatalog.get(f"{kind}:set").thing_classes == ["cat"]


def test_wider_face_of_datumaro_with_marks_before_the_class(folder):
    text = "0--P/a.jpg\n1\n12 6 16 8 - - - False - - cat\n"
    files = {"WIDER_train/images/0--P/a.jpg": None}
    home = folder({**files, "wider_face_split/wider_face_train_bbx_gt.txt": text})
    assert objects(f"auto:{home}") == YOLO_BOX


def test_empty_folders_of_maps_are_not_taken_for_masks(folder):
    """Datumaro makes them for boxes, too."""
    home = folder({"JPEGImages/a.jpg": None, "ImageSets/Main/train.txt": "a\n"})
    for name in ("Annotations", "SegmentationObject", "SegmentationClass"):
        (home / name).mkdir()
    with pytest.raises(DataError, match=r"No annotation of .* has an object"):
        DatasetCatalog.get(f"auto:{home}")


def test_lists_of_classes_that_differ_between_splits_are_refused(folder):
    """The same number would mean two classes."""
    files = {f"{split}/a.jpg": None for split in ("train", "valid")}
    files |= {f"{split}/a.txt": LINE for split in ("train", "valid")}
    files |= {"train/_darknet.labels": "cat\ndog\n", "valid/_darknet.labels": "dog\ncat\n"}
    with pytest.raises(DataError, match="list other classes"):
        objects(f"auto:{folder(files)}@train")


def test_number_of_classes_that_names_do_not_have_is_said(folder, caplog):
    home = folder({"images/a.jpg": None, "labels/a.txt": LINE, "data.yaml": YAML + "nc: 2\n"})
    with caplog.at_level(logging.WARNING):
        objects(f"auto:{home}@train")
    assert "nc is 2, but names has 1 classes" in caplog.text


def test_rotated_box_of_rolabelimg_has_its_corners(folder):
    shape = "<robndbox><cx>20</cx><cy>10</cy><w>16</w><h>4</h><angle>1.5707963</angle></robndbox>"
    size = "<size><width>40</width><height>20</height></size>"
    text = f"<annotation>{size}<object><name>cat</name>{shape}</object></annotation>"
    home = folder({"a.jpg": None, "a.xml": text})
    assert objects(f"auto:{home}") == [("cat", [18, 2, 22, 18], True)]


def test_polygons_of_the_labelme_of_mit_are_read_without_deleted_objects(folder):
    points = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in ((3, 3), (12, 3), (12, 12)))
    shape = f"<polygon><username>u</username>{points}</polygon>"
    text = (
        "<annotation><filename>a.jpg</filename><imagesize><nrows>20</nrows><ncols>40</ncols>"
        f"</imagesize><object><name>\ncat\n</name><deleted>0</deleted>{shape}</object>"
        f"<object><name>dog</name><deleted>1</deleted>{shape}</object></annotation>"
    )
    home = folder({"Images/a.jpg": None, "Annotations/a.xml": text})
    assert objects(f"auto:{home}") == [("cat", [3, 3, 12, 12], True)]
    assert MetadataCatalog.get(f"auto:{home}").thing_classes == ["cat"]


def test_polygon_of_roboflow_in_voc_is_a_mask_beside_the_box(folder):
    box = "<bndbox><xmin>3</xmin><ymin>3</ymin><xmax>12</xmax><ymax>12</ymax></bndbox>"
    shape = "<polygon><x1>3</x1><y1>3</y1><x2>12</x2><y2>3</y2><x3>12</x3><y3>12</y3></polygon>"
    text = f"<annotation><object><name>cat</name>{box}{shape}</object></annotation>"
    home = folder({"a.jpg": None, "a.xml": text})
    assert objects(f"auto:{home}") == [("cat", [2, 2, 12, 12], True)]
    [obj] = DatasetCatalog.get(f"auto:{home}")[0]["annotations"]
    assert obj["segmentation"] == [[3, 3, 12, 3, 12, 12]]


def test_image_inside_of_a_labelme_file_is_used_where_there_is_no_other(folder):
    """LabelMe stores it by default, and people share the JSON files alone."""
    stream = io.BytesIO()
    Image.new("RGB", (40, 20), (9, 8, 7)).save(stream, format="PNG")
    shape = {"label": "cat", "points": [[2, 2], [12, 2], [12, 10]], "shape_type": "polygon"}
    data = base64.b64encode(stream.getvalue()).decode()
    home = folder({"a.json": {"shapes": [shape], "imagePath": "a.jpg", "imageData": data}})
    assert objects(f"auto:{home}") == [("cat", [2, 2, 12, 10], True)]


PIXEL_BOX = [2, 2, 12, 10]


@pytest.mark.parametrize(("name", "text", "label"), [
    ("t.csv", 'image_id,width,height,bbox,source\na,40,20,"[2.0, 2.0, 10.0, 8.0]",x\n', "object"),
    ("t.csv", "image,label,x_center,y_center,width,height\na.jpg,cat,0.175,0.3,0.25,0.4\n", "cat"),
    ("t.csv", "image_name,class_id,x_min,y_min,x_max,y_max\na.jpg,3,2,2,12,10\n", "3"),
    ("t.csv", "Filename;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\na.jpg;2;2;12;10;5\n", "5"),
    ("t.csv", 'image_id,bbox,class\na,"[2, 2, 10, 8]",cat\nb,nan,\n', "cat"),
    ("t.csv", "cat,2,2,10,8,a.jpg,40,20\n", "cat"),
    ("t.csv", "TRAIN,gs://b/a.jpg,cat,0.05,0.1,,,0.3,0.5,,\n", "cat"),
    ("_annotations.csv", "a.jpg,2,2,12,10,cat\n", "cat"),
])  # fmt: skip
def test_tables_of_boxes(folder, name, text, label):
    home = folder({"a.jpg": None, "b.jpg": None, name: text})
    assert objects(f"auto:{home}") == [(label, PIXEL_BOX, False)]


def test_open_images_of_fiftyone(folder):
    head = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsGroupOf\n"
    files = {"data/a.jpg": None, "metadata/classes.csv": "/m/01,Cat\n"}
    files["labels/detections.csv"] = head + "a,x,/m/01,1,0.05,0.3,0.1,0.5,0\n"
    assert objects(f"auto:{folder(files)}") == [("Cat", PIXEL_BOX, False)]


def label_studio(*results, image="a.jpg"):
    return [{"id": 1, "annotations": [{"result": list(results)}], "data": {"image": image}}]


def test_point_inside_of_a_region_of_label_studio_is_its_keypoint(folder):
    box = {"id": "p", **SIZE, "value": {**RECTANGLE, "rectanglelabels": ["cat"]}}
    point = {"x": 10, "y": 20, "width": 0.5, "keypointlabels": ["nose"]}
    home = folder({"a.jpg": None, "p.json": label_studio(
        box, {"id": "q", "parentID": "p", **SIZE, "value": point}
    )})  # fmt: skip
    assert objects(f"auto:{home}") == [("cat", PIXEL_BOX, False)]
    assert DatasetCatalog.get(f"auto:{home}")[0]["annotations"][0]["keypoints"] == [4, 4, 2]
    assert MetadataCatalog.get(f"auto:{home}").keypoint_names == ["nose"]


def test_bitmap_of_label_studio_is_a_mask(folder):
    mask = np.zeros((20, 40), np.uint8)
    mask[2:10, 2:12] = 255
    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, format="PNG")
    url = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
    region = {**SIZE, "value": {"imageDataURL": url, "bitmasklabels": ["cat"]}}
    home = folder({"a.jpg": None, "p.json": label_studio(region)})
    assert objects(f"auto:{home}") == [("cat", PIXEL_BOX, True)]


def test_videos_of_label_studio_are_refused_with_what_to_export(folder):
    region = {"value": {"sequence": [], "labels": ["cat"]}, "type": "videorectangle"}
    home = folder({"p.json": label_studio(region, image="/data/v.mp4")})
    with pytest.raises(DataError, match=r"labels videos, such as .*v\.mp4. Export the frames"):
        objects(f"auto:{home}")


def test_create_ml_with_addresses(folder):
    place = {"x": 7, "y": 6, "width": 10, "height": 8}
    item = {"imageURL": "a.jpg", "annotations": [{"label": "cat", "coordinates": place}]}
    assert objects(f"auto:{folder({'a.jpg': None, 'x.json': [item]})}") == [
        ("cat", PIXEL_BOX, False)
    ]


def test_supervisely_without_kinds_of_shapes(folder):
    points = {"exterior": [[2, 2], [12, 2], [12, 10]], "interior": []}
    ann = {
        "size": {"height": 20, "width": 40},
        "objects": [{"classTitle": "cat", "points": points}],
    }
    files = {"d/img/a.jpg": None, "d/ann/a.jpg.json": ann}
    files["meta.json"] = {"classes": [{"title": "cat", "shape": "polygon"}]}
    assert objects(f"auto:{folder(files)}") == [("cat", PIXEL_BOX, True)]


@pytest.mark.parametrize("end", [" 0", " 1", ""])
def test_dota_with_blanks_in_the_name_of_a_class(folder, end):
    line = f"2 2 12 2 12 10 2 10 large vehicle{end}\n"
    home = folder({"images/a.png": None, "labelTxt/a.txt": line})
    assert objects(f"auto:{home}") == [("large vehicle", PIXEL_BOX, True)]


@pytest.mark.parametrize("empty", ["", "0 0 0 0 0 0 0 0 0 0\n"])
def test_wider_face_without_a_line_for_an_image_without_faces(folder, empty):
    text = f"0--Parade/a.jpg\n0\n{empty}0--Parade/b.jpg\n1\n2 2 10 8 0 0 0 0 0 0\n"
    images = {f"WIDER_train/images/0--Parade/{name}.jpg": None for name in "ab"}
    home = folder({**images, "wider_face_train_bbx_gt.txt": text})
    assert objects(f"auto:{home}@train") == [("face", PIXEL_BOX, False)]


def coco(segmentation, name="a.jpg", **more):
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": segmentation, **more}
    image = {"id": 1, "file_name": name, "width": 40, "height": 20}
    categories = [{"id": 1, "name": "cat"}]
    return {"images": [image], "annotations": [annotation], "categories": categories}


@pytest.mark.parametrize("value", [1, 255, True])
def test_mask_of_coco_as_rows_of_pixels(folder, value):
    """Two rows of zeros and ones look like two polygons."""
    mask = [[0] * 40 for _ in range(20)]
    for row in mask[2:10]:
        row[2:12] = [value] * 10
    home = folder({"a.jpg": None, "x.json": coco(mask)})
    assert objects(f"coco:{home}/x.json") == [("cat", PIXEL_BOX, True)]


def test_images_of_coco_by_their_addresses(folder):
    content = coco([[2, 2, 12, 2, 12, 10]], "https://store.host/x/a.jpg?key=1")
    home = folder({"a.jpg": None, "x.json": content})
    assert objects(f"coco:{home}/x.json") == [("cat", PIXEL_BOX, True)]


@pytest.mark.parametrize(("tool", "content"), [
    ("Labelbox", {"data_row": {"id": "x"}, "projects": {}}),
    ("V7 Darwin", {"item": {"name": "a"}, "annotations": [{"bounding_box": {"x": 1}}]}),
    ("SuperAnnotate", {"metadata": {"name": "a.jpg"}, "instances": []}),
    ("ISAT", {"info": {}, "objects": [{"layer": 1}]}),
    ("BDD100K", [{"name": "a.jpg", "labels": [{"box2d": {"x1": 1}}]}]),
    ("Hasty", {"label_classes": [], "images": []}),
    ("Encord", [{"label_hash": "x", "data_hash": "y"}]),
])  # fmt: skip
def test_format_of_a_tool_that_is_not_read_is_named_with_what_to_export(folder, tool, content):
    home = folder({"a.jpg": None, "x.json": content})
    for string in (f"auto:{home}", f"auto:{home}/x.json"):
        with pytest.raises((ConfigError, DataError, MissingFileError), match=f"{tool}'s own") as e:
            objects(string)
        assert "export as COCO" in str(e.value)


def test_things_of_panoptic_files_are_objects_with_masks(folder):
    """The PNGs have the names of the images, and one of them is not there."""
    ids = np.zeros((20, 40), int)
    ids[2:10, 2:12], ids[12:] = 7, 300
    colours = np.stack([ids % 256, ids // 256, ids * 0], axis=2).astype(np.uint8)
    segments = [{"id": 7, "category_id": 5, "iscrowd": 0}, {"id": 300, "category_id": 6}]
    content = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
        "annotations": [
            {"image_id": 1, "file_name": "a.png", "segments_info": segments},
            {"image_id": 2, "file_name": "b.png", "segments_info": segments},
        ],
        "categories": [
            {"id": 5, "name": "cat", "isthing": 1},
            {"id": 6, "name": "sky", "isthing": 0},
        ],
    }
    home = folder({
        "annotations/panoptic_train2017.json": content, "train2017/a.jpg": None,
        "train2017/b.jpg": None, "annotations/panoptic_train2017/a.png": None,
    })  # fmt: skip
    Image.fromarray(colours).save(home / "annotations/panoptic_train2017/a.png")
    assert objects(f"auto:{home}@train") == [("cat", PIXEL_BOX, True)]
    name = f"panoptic:{home}/annotations/panoptic_train2017.json"
    with collecting_faults() as faults:
        assert len(DatasetCatalog.get(name)) == 2
    assert faults.counts == {"unreadable_annotations": 1}
    assert MetadataCatalog.get(name).thing_classes == ["cat"]


@pytest.mark.parametrize("prefix", ["39465969__", "1a2b3c4d-"])
def test_labels_of_label_studio_fit_images_of_the_original_names(folder, prefix):
    """Its exports name the files by an upload, and the images are often not exported."""
    home = folder({"images/a.jpg": None, f"labels/{prefix}a.txt": LINE, "classes.txt": "cat\n"})
    assert objects(f"auto:{home}") == YOLO_BOX
    content = coco([[2, 2, 12, 2, 12, 10]], f"images/{prefix}a.jpg")
    home = folder({"coco/result.json": content, "coco/images/a.jpg": None})
    assert objects(f"auto:{home}/coco") == [("cat", PIXEL_BOX, True)]
