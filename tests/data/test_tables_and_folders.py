"""Tables of boxes and folders of maps as tools write them, and images that are listed twice."""

import json

import numpy as np
import pytest
from PIL import Image

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.datasets.by_string import csv_table
from d2lite.data.datasets.by_string.auto_layout import recognise
from d2lite.data.records.faults import collecting_faults
from d2lite.utils.errors import DataError
from tests.data.spec_files import objects

pytestmark = pytest.mark.usefixtures("own_folders")

BOX = [("cat", [12, 6, 28, 14], False)]
HEAD = "filename,class,xmin,ymin,xmax,ymax\n"


def counted(string):
    """The images, the objects and the faults of a set."""
    with collecting_faults() as faults:
        records = DatasetCatalog.get(string)
    return len(records), sum(len(r["annotations"]) for r in records), dict(faults.counts)


@pytest.mark.parametrize("text", [
    "TRAIN,gs://b/a.jpg,cat,0.3,0.3,,,0.7,0.7,,\nVALIDATION,gs://b/b.jpg,dog,0.3,0.3,,,0.7,0.7,,\n",
    f"Set,{HEAD}train,a.jpg,cat,12,6,28,14\nValid,b.jpg,dog,12,6,28,14\n",
])  # fmt: skip
@pytest.mark.parametrize("string", ["auto:{}@{}", "auto:{}/t.csv@{}", "csv:{}/t.csv@{}"])
def test_table_may_name_the_split_of_each_row(folder, text, string):
    home = folder({"a.jpg": None, "b.jpg": None, "t.csv": text})
    for split, label in (("train", "cat"), ("val", "dog")):
        name = string.format(home, split)
        assert objects(name) == [(label, [12, 6, 28, 14], False)]
        assert MetadataCatalog.get(name).thing_classes == ["cat", "dog"]
    assert counted(f"csv:{home}/t.csv") == (2, 2, {})


def test_column_of_other_words_than_splits_splits_no_table(folder):
    text = f"Set,{HEAD}spring,a.jpg,cat,12,6,28,14\n,b.jpg,dog,12,6,28,14\n"
    home = folder({"a.jpg": None, "b.jpg": None, "t.csv": text})
    assert counted(f"auto:{home}") == (2, 2, {})


@pytest.mark.parametrize("head", [
    "x0,y0,x1,y1,x2,y2,x3,y3", "x1,y1,x2,y2,x3,y3,x4,y4",
    "top_left_x,top_left_y,top_right_x,top_right_y,"
    "bottom_right_x,bottom_right_y,bottom_left_x,bottom_left_y",
])  # fmt: skip
def test_four_corners_in_a_table_are_an_outline(folder, head):
    text = f"filename,class,{head}\na.jpg,cat,12,7,27,6,28,13,13,14\n"
    found = objects(f"auto:{folder({'a.jpg': None, 't.csv': text})}")
    assert found == [("cat", [12, 6, 28, 14], True)]


@pytest.mark.parametrize("text", [
    "sep=;\r\nfilename;class;xmin;ymin;xmax;ymax\r\na.jpg;cat;12,0;6;28;14\r\n",
    "filename\tclass\txmin\tymin\txmax\tymax\na.jpg\tcat\t12,0\t6\t28\t14\n",
    f"{HEAD}{HEAD}a.jpg,cat,12,6,28,14\n",
])  # fmt: skip
def test_tables_as_spreadsheets_save_and_people_join_them(folder, text):
    assert objects(f"auto:{folder({'a.jpg': None, 't.csv': text})}") == BOX


def test_column_that_is_named_and_not_there_is_told(folder):
    home = folder({"a.jpg": None, "t.csv": f"{HEAD}a.jpg,cat,1,2,3,4\n"})
    with pytest.raises(DataError, match=r"no column 'Kind', which \?columns= names"):
        DatasetCatalog.get(f"csv:{home}/t.csv?columns=label:Kind")


def test_column_may_be_named_without_its_blanks_and_letter_case(folder):
    text = "filename, Kind_Of, xmin, ymin, xmax, ymax\na.jpg,cat,12,6,28,14\n"
    home = folder({"a.jpg": None, "t.csv": text})
    assert objects(f"csv:{home}/t.csv?columns=label:kind of") == BOX


def test_table_without_splits_is_not_read_to_be_recognised(folder, monkeypatch):
    home = folder({"a.jpg": None, "t.csv": f"{HEAD}a.jpg,cat,12,6,28,14\n"})
    monkeypatch.setattr(csv_table, "read_text", lambda path: pytest.fail("all of it was read"))
    assert recognise(home)["(whole)"].kind == "csv"


def test_comma_of_thousands_between_tabs_is_no_decimal_comma(folder):
    text = f"{HEAD}a.jpg,cat,1 234,6,1 300,14\n".replace(",", "\t").replace(" ", ",")
    home = folder({"a.jpg": None, "t.csv": f"{text}a.jpg\tcat\t12,0\t6\t28,000\t14\n"})
    assert counted(f"csv:{home}/t.csv") == (1, 0, {"malformed": 2})


def test_faults_of_a_table_are_told_by_the_lines_of_the_file(folder):
    home = folder({"a.jpg": None, "t.csv": f"sep=,\n{HEAD}a.jpg,cat,12,6,28,14\n,cat,1,2,3,4\n"})
    with collecting_faults() as faults:
        DatasetCatalog.get(f"csv:{home}/t.csv")
    assert faults.examples["malformed"] == [f"{home / 't.csv'}, line 4: no name of an image"]


def test_groups_of_a_table_may_be_marked_by_words(folder):
    text = f"IsGroupOf,{HEAD}True,a.jpg,cat,12,6,28,14\n"
    home = folder({"a.jpg": None, "t.csv": text})
    assert DatasetCatalog.get(f"csv:{home}/t.csv")[0]["annotations"][0]["iscrowd"] == 1


VOC = (
    "<annotation><object><name>cat</name><bndbox><xmin>13,0</xmin><ymin>7,0</ymin>"
    "<xmax>28</xmax><ymax>14</ymax></bndbox></object></annotation>"
)


def test_voc_of_windows_has_upper_case_endings_and_decimal_commas(folder):
    home = folder({
        "JPEGImages/A.JPG": None, "Annotations/A.XML": VOC, "ImageSets/Main/train.txt": "A\r\n",
    })  # fmt: skip
    assert objects(f"auto:{home}@train") == BOX


def region(label, **more):
    value = {"x": 30, "y": 30, "width": 40, "height": 40, "rectanglelabels": [label][: bool(label)]}
    sizes = {"original_width": 40, "original_height": 20}
    return {"id": label, "type": "rectanglelabels", "value": value, **sizes, **more}


def task(*regions):
    return {"id": 1, "data": {"image": "a.jpg"}, "annotations": [{"result": list(regions)}]}


YOLO = {"images/a.jpg": None, "labels/a.txt": "0 0.5 0.5 0.4 0.4\n"}
CVAT = (
    "<image name='a.jpg' width='40' height='20'>"
    "<box label='cat' xtl='1' ytl='1' xbr='9' ybr='9'/></image>"
)


@pytest.mark.parametrize(("files", "num_objects", "times"), [
    ({**YOLO, "data.yaml": "train: t.txt\nnames: [a]\n", "t.txt": "images/a.jpg\n./images/a.jpg\n"},
     1, 1),
    ({**YOLO, "data.yaml": "train: [images, ./images]\nnames: [a]\n"}, 1, 1),
    ({"JPEGImages/a.jpg": None, "Annotations/a.xml": VOC, "ImageSets/Main/train.txt": "a\na\n"},
     1, 1),
    ({"a.jpg": None, "annotations.xml": f"<annotations>{CVAT}{CVAT}</annotations>"}, 1, 1),
    ({"a.jpg": None, "x.json": [task(region("cat")), task(region("dog")), task(region("cat"))]},
     2, 2),
])  # fmt: skip
def test_image_that_is_listed_twice_counts_once_with_the_objects_of_both(
    folder, files, num_objects, times
):
    assert counted(f"auto:{folder(files)}") == (1, num_objects, {"repeated_image": times})


def test_objects_without_a_label_are_counted(folder):
    plain = region("", type="rectangle", id="cat")  # its label is in the result of the same id
    home = folder({"a.jpg": None, "x.json": [task(region(""), plain, region("cat"))]})
    assert counted(f"auto:{home}") == (1, 1, {"malformed": 1})
    place = {"x": 9, "y": 9, "width": 6, "height": 6}
    boxes = [{"label": label, "coordinates": place} for label in (None, "cat")]
    home = folder({"a.jpg": None, "x.json": [{"image": "a.jpg", "annotations": boxes}]})
    assert counted(f"createml:{home}/x.json") == (1, 1, {"malformed": 1})


def test_link_to_an_image_that_is_not_there_is_a_missing_image(folder):
    home = folder({**YOLO, "labels/b.txt": "", "data.yaml": "train: images\nnames: [cat]\n"})
    (home / "images/b.jpg").symlink_to(home / "unmounted.jpg")
    assert counted(f"auto:{home}@train") == (1, 1, {"missing_image": 1})


def test_coco_files_in_the_folders_of_splits_have_their_own_images(folder):
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 40, "height": 20}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [],
    }
    for split in ("train", "val"):
        home = folder({f"images/{split}/a.jpg": None, f"annotations/{split}/x.json": content})
    assert DatasetCatalog.get(f"auto:{home}@val")[0]["file_name"].endswith("images/val/a.jpg")


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


CITY = {"s/leftImg8bit/train/x/a_leftImg8bit.jpg": None}
MAP = "gtFine/train/x/a_gtFine_instanceIds.png"
OUTLINES = "s/gtFine/train/x/a_gtFine_polygons.json"


def outlined(label):
    objects_ = [{"label": label, "polygon": [[12, 6], [28, 6], [28, 14]]}]
    return {OUTLINES: json.dumps({"imgHeight": 20, "imgWidth": 40, "objects": objects_})}


def test_cityscapes_folders_may_have_classes_of_ones_own(folder):
    numbers = np.zeros((20, 40), np.uint16)
    numbers[6:14, 12:28], numbers[0:2, 0:2] = 2001, 3
    colours = "0 0 0 background\n1 1 1 cat\n2 2 2 dog\n3 3 3 owl\n"
    home = folder({**CITY, "s/label_colors.txt": colours}) / "s"
    save(home / MAP, numbers)
    found = [("owl", [0, 0, 2, 2], True), ("dog", [12, 6, 28, 14], True)]
    assert objects(f"masks:{home}@train") == found
    records = DatasetCatalog.get(f"auto:{home}")
    assert [obj.get("iscrowd", 0) for obj in records[0]["annotations"]] == [1, 0]


@pytest.mark.parametrize("label", ["wolf", "age group", "group"])
def test_outlines_of_cityscapes_are_read_where_its_numbers_do_not_fit(folder, label):
    home = folder({**CITY, **outlined(label)}) / "s"
    save(home / MAP, np.full((20, 40), 26001, np.uint16))
    assert objects(f"auto:{home}") == [(label, [12, 6, 28, 14], True)]


def test_cityscapes_own_classes_are_those_of_its_objects(folder):
    home = folder({**CITY, **outlined("cargroup")}) / "s"
    assert objects(f"auto:{home}@train") == [("car", [12, 6, 28, 14], True)]
    numbers = np.full((20, 40), 7, np.uint16)
    numbers[6:14, 12:28] = 26001
    save(home / MAP, numbers)
    assert objects(f"auto:{home}") == [("car", [12, 6, 28, 14], True)]


def test_masks_of_supervisely_are_named_by_their_class(folder):
    home = folder({"d/img/a.jpg": None})
    mask = np.zeros((20, 40), np.uint8)
    mask[6:14, 12:28] = 255
    save(home / "d/masks_instances/a/big_cat_1.png", mask)
    assert objects(f"auto:{home}") == [("big_cat", [12, 6, 28, 14], True)]


@pytest.mark.parametrize(("name", "text", "is_told"), [
    ("labels/b.txt", "0 0.5 0.5 0.4 0.4\n", True), ("labels/b.txt", "\n", False),
    ("labels/a.jpg.txt", "0 0.5 0.5 0.4 0.4\n", False), ("labels/classes.txt", "cat\n", False),
    ("labels/0123abcd-a.txt", "0 0.5 0.5 0.4 0.4\n", False),
])  # fmt: skip
def test_labels_of_yolo_whose_image_is_not_there_are_counted(folder, name, text, is_told):
    home = folder({**YOLO, "data.yaml": "train: images\nnames: [cat]\n", name: text})
    assert counted(f"auto:{home}@train") == (1, 1, {"unused_labels": 1} if is_told else {})


def test_name_that_the_locale_does_not_have_is_refused_with_what_to_set(folder, monkeypatch):
    content = {
        "images": [{"id": 1, "file_name": "\u732b.jpg", "width": 40, "height": 20}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [],
    }
    home = folder({"x.json": content, "t.csv": f"{HEAD}\u732b.jpg,cat,1,2,3,4\n"})
    monkeypatch.setattr("os.fsencode", lambda name: name.encode("ascii"))
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "ascii")
    for string in (f"coco:{home}/x.json@{home}", f"csv:{home}/t.csv"):
        with pytest.raises(DataError, match=r"names of files are ascii. Set PYTHONUTF8=1"):
            counted(string)


def test_folders_in_folders_are_opened_a_few_times_and_not_without_end(folder):
    home = folder({"1/2/3/4/a.jpg": None, "1/2/3/4/a.xml": VOC})
    assert objects(f"auto:{home}") == BOX
    deep = folder({f"x/{'y/' * 30}a.xml": VOC}) / "x"
    with pytest.raises(DataError, match="in no layout that auto: knows"):
        DatasetCatalog.get(f"auto:{deep}")
