"""Datasets with files of unusual names, endings and contents: read as what they are, or told."""

import json
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from d2lite.checkpoint.reading import read_checkpoint
from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.converting import convert
from d2lite.data.image_io import read_image
from d2lite.data.records.faults import FaultLog, collecting_faults
from d2lite.data.records.image_sizes import image_size
from d2lite.data.records.object_checks import valid_object
from d2lite.predicting.inputs import find_inputs
from d2lite.structures import BoxMode
from d2lite.utils.errors import DataError, MissingFileError, OutputError, WeightsError
from tests.data.spec_files import coco, picture, write

pytestmark = pytest.mark.usefixtures("own_folders")

LINE = "0 0.5 0.5 0.4 0.4\n"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 40
AVIF = HEIC.replace(b"heic", b"avif")


def yolo(home, names="[cat, owl]", images=("a.jpg",), line=LINE):
    for name in images:
        path = picture(home / "images" / name)
        write(home / "labels" / f"{path.stem}.txt", line)
    return write(home / "data.yaml", f"train: images\nval: images\nnames: {names}\n")


def loaded(string):
    with collecting_faults() as faults:
        records = DatasetCatalog.get(string)
    assert all(os.path.isfile(record["file_name"]) for record in records)
    return records, faults


def num_objects(string):
    return [len(record["annotations"]) for record in loaded(string)[0]]


@pytest.mark.parametrize("ending", [".jfif", ".jpe", ".gif", ".ppm", ".pgm", ".jp2", ".avif"])
def test_photographs_of_less_usual_endings_are_part_of_the_set(ending, home):
    if ending not in Image.registered_extensions():
        pytest.skip("Pillow before 11.3 has no AVIF")
    image = Image.new("L" if ending == ".pgm" else "RGB", (20, 10), 77)
    yolo(home)
    image.save(home / f"images/b{ending}", "JPEG" if ending in (".jfif", ".jpe") else None)
    write(home / "labels/b.txt", LINE)
    assert num_objects(f"yolo:{home}") == [1, 1]
    assert read_image(str(home / f"images/b{ending}"), "BGR").shape == (10, 20, 3)
    assert len(find_inputs([str(home / "images")])) == 2


@pytest.mark.parametrize(
    "read",
    [
        lambda home: DatasetCatalog.get(f"images:{home}/images"),
        lambda home: DatasetCatalog.get(f"yolo:{home}"),
        lambda home: find_inputs([f"{home}/images"]),
    ],
)
def test_photographs_that_are_not_read_are_told(read, home):
    write(home / "images/a.HEIC", HEIC)
    write(home / "data.yaml", "train: images\nval: images\nnames: [cat]\n")
    with pytest.raises((DataError, MissingFileError), match=r"Not read are 1 \.heic: convert"):
        read(home)


@pytest.mark.parametrize(
    ("content", "what"),
    [(POINTER, "git lfs pull"), (HEIC, "HEIC photograph"), (AVIF, "AVIF photograph")],
)
def test_what_is_no_image_is_named(content, what, home):
    path = write(home / "a.jpg", content)
    for read in (read_image, image_size):
        with pytest.raises(DataError, match=what):
            read(path)


@pytest.mark.parametrize(
    ("content", "what"), [(POINTER, "git lfs pull"), (b"<!DOCTYPE html><p>", "web page")]
)
def test_labels_and_weights_that_are_another_file_are_named(content, what, home):
    for kind in ("coco", "createml"):
        write(home / "labels.json", content)
        with pytest.raises(DataError, match=what):
            DatasetCatalog.get(f"{kind}:set/labels.json")
    for name in ("w.pth", "w.pkl", "w.safetensors"):
        with pytest.raises(WeightsError, match=what):
            read_checkpoint(str(write(home / name, content)))


def test_sizes_of_turned_tiffs_and_of_tags_that_mean_nothing_are_those_of_the_pixels(tmp_path):
    for number in (1, 3, 6, 8, 99):
        exif = Image.Exif()
        exif[0x0112] = number
        for name in ("a.tif", "a.jpg", "a.png"):
            Image.new("RGB", (20, 10)).save(tmp_path / name, exif=exif)
            pixels = read_image(str(tmp_path / name), "BGR")
            assert image_size(tmp_path / name) == pixels.shape[:2], (name, number)


def test_array_without_a_pixel_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((4, 4, 0), np.uint8))
    with pytest.raises(DataError, match=r"\(4, 4, 0\)"):
        read_image(str(tmp_path / "a.npy"), "BGR")


@pytest.mark.parametrize("name", ["DATA.YAML", "X.JSON", "X.CSV", "x.tsv", "annotations.XML"])
def test_label_files_of_other_case_are_recognised(name, home):
    picture(home / "images/a.jpg")
    row = (
        ("filename", "class", "xmin", "ymin", "xmax", "ymax"),
        ("a.jpg", "cat", "2", "2", "8", "8"),
    )
    if name == "DATA.YAML":
        yolo(home).rename(home / name)
    elif name == "X.JSON":
        coco(home / name, objects=[(0, 1)], files=("a.jpg",))
    elif name.endswith("XML"):
        box = '<box label="cat" xtl="2" ytl="2" xbr="8" ybr="8"/>'
        image = f'<image name="a.jpg" width="20" height="10">{box}</image>'
        write(home / name, f"<annotations>{image}</annotations>")
    else:
        separator = "\t" if name == "x.tsv" else ","
        write(home / name, "\n".join(map(separator.join, row)))
    assert num_objects(f"auto:{home}") == [1]


def test_waiting_files_are_passed_over(home):
    home.mkdir(parents=True)
    for name in ("a.csv", "a.xml", "a.json", "data.yaml"):
        os.mkfifo(home / name)
    with pytest.raises(DataError, match="no layout"):
        DatasetCatalog.get(f"auto:{home}")


def test_folders_that_links_lead_to_are_searched_once(home):
    yolo(home / "store", images=("a.jpg", "b.jpg"))
    for name in ("images", "labels"):
        (home / "set" / name).mkdir(parents=True)
        (home / "set" / name / "part").symlink_to(home / "store" / name)
    (home / "store/images/again").symlink_to(home / "set/images")
    write(home / "set/data.yaml", "train: images\nval: images\nnames: [cat, owl]\n")
    assert num_objects(f"yolo:{home / 'set'}") == [1, 1]


def test_names_of_classes_are_those_that_data_yaml_writes(home):
    yolo(home, names="\n- no\n- on\n- 007\n- 2.50\n-\n- ~\n- ''")
    DatasetCatalog.get(f"yolo:{home}")
    names = MetadataCatalog.get(f"yolo:{home}").thing_classes
    assert names == ["no", "on", "007", "2.50", "4", "~", ""]


@pytest.mark.parametrize("names", ["[[cat, owl]]", "[cat: 0, owl: 1]"])
def test_names_of_classes_that_are_no_texts_are_refused(names, home):
    yolo(home, names=names)
    with pytest.raises(DataError, match="class 0 of 'names'"):
        DatasetCatalog.get(f"yolo:{home}")


def test_empty_line_between_classes_is_refused_and_not_counted_over(home):
    yolo(home).unlink()
    write(home / "classes.txt", "cat\n\nowl\n")
    with pytest.raises(DataError, match="line 2 is empty"):
        DatasetCatalog.get(f"yolo:{home}")
    write(home / "classes.txt", "cat\nowl\n\n\n")
    DatasetCatalog.get(f"yolo:{home}/classes.txt")
    assert MetadataCatalog.get(f"yolo:{home}/classes.txt").thing_classes == ["cat", "owl"]


def test_lines_of_yolo_as_unusual_programs_write_them(home):
    lines = ["1.0 0.5 0.5 0.4 0.4", "0 0,5 0,5 0,4 0,4", f"{'9' * 400} 0.5 0.5 0.4 0.4"]
    yolo(home, line="\n".join([*lines, "1.5 0.5 0.5 0.4 0.4"]))
    (record,), faults = loaded(f"yolo:{home}")
    assert [obj["category_id"] for obj in record["annotations"]] == [1, 0]
    assert faults.counts == {"unknown_category": 2}


def test_pixels_in_place_of_shares_are_told_with_the_line(home):
    yolo(home, line="0 10 5 8 4")
    (record,), faults = loaded(f"yolo:{home}")
    assert record["annotations"] == []
    assert "a.txt, line 1: x and y are shares of the image's" in faults.examples["box_outside"][0]


def test_labels_named_with_the_ending_of_their_image_are_read(home):
    yolo(home)
    (home / "labels/a.txt").rename(home / "labels/a.jpg.txt")
    assert num_objects(f"auto:{home}") == [1]


def test_masks_of_coco_as_text_are_read(home):
    picture(home / "a.jpg")
    obj = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [2, 2, 6, 6]}
    masks = ["[[2, 2, 8, 2, 8, 8]]", '{"counts": [0, 200], "size": [10, 20]}']
    objects = [{**obj, "id": i, "segmentation": mask} for i, mask in enumerate(masks)]
    coco(home / "x.json", files=("a.jpg",), annotations=objects)
    (record,), faults = loaded(f"auto:{home}")
    kinds = [type(obj["segmentation"]) for obj in record["annotations"]]
    assert (kinds, faults.counts) == ([list, dict], {})


def test_xml_with_an_ampersand_as_scripts_write_it_is_read(home):
    picture(home / "a&b.jpg")
    box = "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>8</xmax><ymax>8</ymax></bndbox>"
    names = "<name>cat &amp; owl</name>"
    text = f"<filename>a&b.jpg</filename><object>{names}{box}</object>"
    write(home / "1.xml", f"<annotation>{text}</annotation>")
    assert num_objects(f"auto:{home}") == [1]
    assert MetadataCatalog.get(f"auto:{home}").thing_classes == ["cat & owl"]


def test_poses_without_an_order_for_flips_are_read(home):
    yolo(home, names="[cat]\nkpt_shape: [1, 3]\nflip_idx: []", line="0 .5 .5 .4 .4 .5 .5 2\n")
    assert num_objects(f"yolo:{home}") == [1]


@pytest.mark.parametrize(
    "name", [{"coco_url": "http://host/x/a.jpg"}, {"path": "/data/a.jpg"}, {"filename": "a.jpg"}]
)
def test_images_of_coco_without_a_file_name_are_found_by_other_entries(name, home):
    picture(home / "x/a.jpg")
    coco(home / "x.json", objects=[(0, 1)], images=[{"id": 0, "height": 10, "width": 20, **name}])
    assert num_objects(f"coco:{home}/x.json@{home}/x") == [1]


def test_folders_with_an_at_sign_are_found_whichever_part_has_it(home):
    picture(home / "me@work/images@2/a.jpg")
    coco(home / "me@work/x.json", objects=[(0, 1)], files=("a.jpg",))
    for string in (f"x.json@{home}/me@work/images@2", "x.json@images@2"):
        assert num_objects(f"coco:{home}/me@work/{string}") == [1]


def test_folder_of_images_may_be_a_zip(home):
    path = picture(home / "a.jpg")
    coco(home / "x.json", objects=[(0, 1)], files=("a.jpg",))
    with zipfile.ZipFile(home / "photos.zip", "w") as archive:
        archive.write(path, "photos/a.jpg")
    path.unlink()
    assert num_objects(f"coco:{home}/x.json@{home}/photos.zip") == [1]


def test_boxes_of_coco_in_shares_of_the_image_are_refused(home):
    path = coco(home / "x.json", objects=[(0, 1)], files=("a.jpg",))
    picture(home / "a.jpg")
    content = json.loads(path.read_text())
    box = {"image_id": 0, "category_id": 1, "bbox": [0.1, 0.1, 0.5, 0.5]}
    content["annotations"] = [{"id": number, **box} for number in range(10)]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="COCO has pixels"):
        DatasetCatalog.get(f"coco:{path}")


def test_why_there_are_no_classes_is_told(home):
    picture(home / "a.jpg")
    write(home / "a.xml", "<annotation><object><name>a < b</name></object></annotation>")
    with pytest.raises(DataError, match=r"found 1, of which 1 are broken: .*a\.xml is not valid"):
        DatasetCatalog.get(f"voc:{home}")
    tasks = [{"id": 1, "data": {"text": "a"}, "annotations": [{"result": []}]}]
    write(home / "p.json", json.dumps(tasks))
    with pytest.raises(DataError, match="tasks are not about images"):
        DatasetCatalog.get(f"labelstudio:{home}/p.json")


def test_shapes_of_an_empty_group_are_objects_of_their_own(home):
    picture(home / "a.jpg")
    shape = {"label": "cat", "points": [[1, 1], [5, 1], [5, 5]], "group_id": ""}
    write(home / "a.json", json.dumps({"imagePath": "a.jpg", "shapes": [shape, shape]}))
    assert num_objects(f"labelme:{home}") == [2]


def test_archive_that_is_not_read_is_to_be_unpacked(home):
    write(home / "set.tar.gz", b"\x1f\x8b")
    with pytest.raises(DataError, match=r"Unpack the \.gz"):
        DatasetCatalog.get(f"auto:{home}/set.tar.gz")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "x"])
def test_object_whose_keypoints_are_no_numbers_is_skipped(value):
    faults = FaultLog()
    obj = {"bbox": [1, 1, 5, 5], "bbox_mode": BoxMode.XYXY_ABS, "keypoints": [value, 1, 2]}
    assert valid_object(obj, {"height": 9, "width": 9}, faults) is None
    assert faults.counts == {"malformed": 1}
    assert valid_object({**obj, "keypoints": [1, 1, 2]}, {"height": 9, "width": 9}, faults)


@pytest.mark.parametrize("name", ["labels.json", "a" * 300])
def test_conversion_into_what_can_be_no_folder_is_refused(name, home):
    coco(home / "labels.json", objects=[(0, 1)], files=("a.jpg",))
    with pytest.raises(OutputError, match=r"cannot be used: .* Name a new folder"):
        convert(["coco:set/labels.json"], "yolo", home / name)
