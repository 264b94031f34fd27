"""Pascal VOC's folders in, dataset dicts out."""

from pathlib import Path

import pytest
from PIL import Image

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.datasets import load_voc_instances, register_pascal_voc
from d2lite.data.datasets.pascal_voc import voc_split_ids
from d2lite.evaluation.pascal_voc_evaluation import parse_rec
from d2lite.structures import BoxMode
from d2lite.utils.errors import DataError, MissingFileError
from tests.shared_data import shared_data

BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>5</xmax><ymax>8.5</ymax></bndbox>"
SIZE = "<size><width>30</width><height>20</height><depth>3</depth></size>"


def thing(name="cat", more=""):
    return f"<object><name>{name}</name>{more}{BOX}</object>"


@pytest.fixture
def voc(tmp_path):
    """A function that writes a VOC folder of XML texts and returns the folder."""

    def write(**images):
        for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
            (tmp_path / folder).mkdir(parents=True)
        for name, text in images.items():
            (tmp_path / "Annotations" / f"{name}.xml").write_text(
                f"<annotation>{text}</annotation>"
            )
        (tmp_path / "ImageSets/Main/val.txt").write_text("".join(f"{n}\n" for n in images))
        return str(tmp_path)

    return write


def test_boxes_count_from_zero_and_difficult_ones_are_kept(voc):
    folder = voc(a=SIZE + thing() + thing("owl", "<difficult>1</difficult>"), b=SIZE)
    first, second = load_voc_instances(folder, "val", ["owl", "cat"])
    assert first["image_id"] == "a"
    assert first["file_name"].endswith("JPEGImages/a.jpg")
    assert (first["height"], first["width"]) == (20, 30)
    assert first["annotations"] == [
        {
            "category_id": category,
            "bbox": [0.0, 1.0, 5.0, 8.5],
            "bbox_mode": BoxMode.XYXY_ABS,
            "difficult": difficult,
        }
        for category, difficult in [(1, 0), (0, 1)]
    ]
    assert second["annotations"] == []


def test_text_that_xml_marks_as_plain_keeps_its_ampersand(voc):
    folder = voc(a=SIZE + thing("<![CDATA[R & D]]>"))
    (record,) = load_voc_instances(folder, "val", ["R & D"])
    assert [obj["category_id"] for obj in record["annotations"]] == [0]


def test_a_size_that_the_xml_lacks_is_read_from_the_image(voc):
    folder = voc(a=thing())
    with pytest.raises(MissingFileError, match=r"JPEGImages.a\.jpg"):
        load_voc_instances(folder, "val", ["cat"])
    Image.new("RGB", (7, 3)).save(f"{folder}/JPEGImages/a.jpg")
    record = load_voc_instances(folder, "val", ["cat"])[0]
    assert (record["height"], record["width"]) == (3, 7)


@pytest.mark.parametrize("size", [("40.0", "20.0"), ("x", "y"), ("-1", "-1"), ("nan", "20"), None])
def test_a_size_that_cannot_be_is_that_of_the_upright_image(voc, size):
    text = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    folder = voc(a=text + thing())
    image = Image.new("RGB", (20, 40))
    exif = image.getexif()
    exif[0x112] = 6  # a quarter turn
    image.save(f"{folder}/JPEGImages/a.jpg", exif=exif)
    record = load_voc_instances(folder, "val", ["cat"])[0]
    assert (record["height"], record["width"]) == (20, 40)


@pytest.mark.parametrize(
    ("text", "mark"),
    [("Unspecified", 0), ("False", 0), ("", 0), ("0.0", 0), ("True", 1), (" 1 ", 1), ("1.0", 1)],
)
def test_difficult_may_be_written_in_words(voc, text, mark):
    folder = voc(a=SIZE + thing("cat", f"<difficult>{text}</difficult>"))
    assert load_voc_instances(folder, "val", ["cat"])[0]["annotations"][0]["difficult"] == mark
    assert parse_rec(f"{folder}/Annotations/a.xml")[0]["difficult"] == mark


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        ('<?xml version="1.0" encoding="gbk"?>', "gbk"),
        ('<?xml version="1.0" encoding="GB2312" standalone="no"?>', "gbk"),
        ('<?xml version="1.0" encoding="Shift_JIS"?>', "shift_jis"),
        ('<?xml version="1.0" encoding="utf-16"?>', "utf-16"),
        ('<?xml version="1.0" encoding="utf-16"?>', "utf-8"),
        ('\ufeff<?xml version="1.0" encoding="utf-8"?>', "utf-8"),
        ("", "gbk"),
        ("", "utf-16-le"),
    ],
)
def test_xml_is_read_in_the_encoding_that_it_is_written_in(voc, head, encoding):
    """Tools on Chinese and Japanese Windows write these, and some declare another than they use."""
    folder = voc(a="")
    text = f"{head}<annotation>{SIZE}{thing('山田')}</annotation>"
    Path(folder, "Annotations/a.xml").write_bytes(text.encode(encoding))
    assert len(load_voc_instances(folder, "val", ["山田"])[0]["annotations"]) == 1


def test_images_of_any_ending_and_name_are_found_one_by_one(voc):
    name = "<filename>Photo One.JPG</filename>"
    folder = voc(a=SIZE, b=SIZE, c=SIZE, d=SIZE + name, e=SIZE)
    for file in ("a.jpg", "b.png", "C.JPG", "photo one.jpg"):
        Image.new("RGB", (30, 20)).save(f"{folder}/JPEGImages/{file}")
    found = [Path(r["file_name"]).name for r in load_voc_instances(folder, "val", [])]
    assert found == ["a.jpg", "b.png", "C.JPG", "photo one.jpg", "e.jpg"]


def test_lists_may_name_images_in_place_of_annotation_files(voc):
    folder = voc(a=SIZE, b=SIZE, **{"c d": SIZE, "e.jpg": SIZE, "f": SIZE})
    lines = ["a.jpg", "JPEGImages\\b.png", "c d.jpg", "e.jpg", "f  1", "VOC2007/JPEGImages/a.jpg"]
    Path(folder, "ImageSets/Main/val.txt").write_text("\n".join(lines))
    assert voc_split_ids(folder, "val") == ["a", "b", "c d", "e.jpg", "f", "a"]


def test_classes_that_are_not_in_the_list_are_all_named(voc):
    folder = voc(a=SIZE + thing("Cat") + thing("Cat"), b=SIZE + thing("dog"))
    with pytest.raises(DataError, match=r"'Cat' \(2\), 'dog' \(1\).*The list is: cat, owl"):
        load_voc_instances(folder, "val", ["cat", "owl"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<object>", "not valid XML"),
        (SIZE + "<object><name>cat</name></object>", "box of object 'cat' is incomplete"),
    ],
)
def test_broken_files_are_named(voc, text, message):
    with pytest.raises(DataError, match=message) as info:
        load_voc_instances(voc(a=text), "val", ["cat"])
    assert "a.xml" in str(info.value)


def test_missing_files_are_named(voc):
    folder = voc(a=SIZE)
    with pytest.raises(MissingFileError, match=r"test\.txt"):
        load_voc_instances(folder, "test", ["cat"])
    with open(f"{folder}/ImageSets/Main/val.txt", "a") as file:
        file.write("c\n")
    with pytest.raises(MissingFileError, match=r"c\.xml"):
        load_voc_instances(folder, "val", ["cat"])


def test_registration_says_how_to_evaluate(voc):
    try:
        register_pascal_voc("voc_test", voc(a=SIZE + thing()), "val", 2012, ["cat"])
        metadata = MetadataCatalog.get("voc_test")
        assert metadata.evaluator_type == "pascal_voc"
        assert (metadata.year, metadata.split) == (2012, "val")
        assert metadata.thing_classes == ["cat"]
        assert len(DatasetCatalog.get("voc_test")) == 1
    finally:
        DatasetCatalog.remove("voc_test")
        MetadataCatalog.remove("voc_test")


def test_bccd_loads():
    root = shared_data("bccd")
    names = ["RBC", "WBC", "Platelets"]
    records = load_voc_instances(str(root), "trainval", names)
    records += load_voc_instances(str(root), "test", names)
    assert len(records) == 364
    assert sum(len(r["annotations"]) for r in records) == 4155 + 372 + 361
