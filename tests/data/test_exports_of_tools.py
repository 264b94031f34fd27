"""What other tools' own writers make of a set: read as it was, or refused with what to do."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.converting import convert
from d2lite.utils.errors import DataError
from tests.data.spec_files import objects

pytestmark = pytest.mark.usefixtures("own_folders")

LEFT, RIGHT = "2,2;8,2;8,10;2,10", "20,2;30,2;30,10;20,10"


@pytest.mark.parametrize(("names", "read"), [
    (["zebra", "cat", "ape"], ["zebra", "cat", "ape"]),
    # CVAT's list of classes cannot hold these.
    (["zebra", "cat: small", "ape"], ["cat: small", "zebra"]),
])  # fmt: skip
def test_classes_of_a_voc_copy_have_their_order_and_those_without_objects(folder, names, read):
    boxes = [{"id": i, "image_id": 1, "category_id": i, "bbox": [2, 2, 10, 8]} for i in (1, 2)]
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 40, "height": 20}],
        "categories": [{"id": i, "name": name} for i, name in enumerate(names, start=1)],
        "annotations": boxes,
    }
    home = folder({"x.json": content, "a.jpg": None})
    strings, lost = convert([f"coco:{home}/x.json"], "voc", home / "out")
    assert MetadataCatalog.get(strings["train"]).thing_classes == read
    assert dict(lost) == ({} if len(read) == 3 else {"classes without objects": 1})
    assert (home / "out/labelmap.txt").is_file() == (len(read) == 3)


def cvat(shapes):
    image = f'<image id="0" name="a.jpg" width="40" height="20">{shapes}</image>'
    return f"<annotations>{image}</annotations>"


def cvat_polygon(points, group, label="cat"):
    return f'<polygon label="{label}" points="{points}" group_id="{group}"/>'


@pytest.mark.parametrize(("second", "boxes"), [
    (cvat_polygon(RIGHT, 3), [[2, 2, 30, 10]]),
    (cvat_polygon(RIGHT, 0), [[2, 2, 8, 10], [20, 2, 30, 10]]),
    (cvat_polygon(RIGHT, 4), [[2, 2, 8, 10], [20, 2, 30, 10]]),
    (cvat_polygon(RIGHT, 3, "dog"), [[2, 2, 8, 10], [20, 2, 30, 10]]),
])  # fmt: skip
def test_polygons_of_one_group_and_label_of_cvat_are_one_object(folder, second, boxes):
    """So CVAT's own export to COCO has them."""
    home = folder({"annotations.xml": cvat(cvat_polygon(LEFT, 3) + second), "a.jpg": None})
    assert [box for _, box, has_mask in objects(f"auto:{home}") if has_mask] == boxes


def test_boxes_of_one_group_of_cvat_stay_two_objects(folder):
    box = '<box label="cat" xtl="{}" ytl="2" xbr="{}" ybr="9" group_id="1"/>'
    shapes = box.format(1, 5) + box.format(11, 15)
    home = folder({"annotations.xml": cvat(shapes), "a.jpg": None})
    assert [box for _, box, _ in objects(f"auto:{home}")] == [[1, 2, 5, 9], [11, 2, 15, 9]]


def test_shapes_of_one_group_of_a_cvat_video_are_one_object_in_each_frame(folder):
    tracks = "".join(
        f'<track id="{i}" label="cat" group_id="5">'
        f'<polygon frame="0" points="{points}"/><polygon frame="1" points="{points}"/></track>'
        for i, points in enumerate((LEFT, RIGHT))
    )
    size = "<meta><original_size><width>40</width><height>20</height></original_size></meta>"
    text = f"<annotations>{size}{tracks}</annotations>"
    home = folder({
        "annotations.xml": text, "images/frame_000000.jpg": None, "images/frame_000001.jpg": None,
    })  # fmt: skip
    assert objects(f"auto:{home}") == [("cat", [2, 2, 30, 10], True)] * 2


def test_wider_face_of_datumaro_has_names_of_classes_and_no_number_without_boxes(folder):
    text = (
        "no_label/a.jpg\n"
        "no_label/b.jpg\n2\n2.0 2.0 10.0 8.0 white cell\n1.0 1.0 4.0 5.0 cat 0 0 0 0 0 0\n"
        "no_label/c.jpg\n"
    )
    images = {f"WIDER_train/images/no_label/{name}.jpg": None for name in "abc"}
    home = folder({**images, "wider_face_split/wider_face_train_bbx_gt.txt": text})
    assert objects(f"auto:{home}") == [
        ("white cell", [2, 2, 12, 10], False),
        ("cat", [1, 1, 5, 6], False),
    ]
    assert len(DatasetCatalog.get(f"auto:{home}")) == 3


def test_panoptic_file_without_a_thing_has_all_segments_as_objects(folder):
    """Datumaro writes isthing 0 for every category."""
    content = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [{
            "image_id": 1, "file_name": "a.png", "segments_info": [{"id": 7, "category_id": 1}],
        }],
        "categories": [{"id": 1, "name": "cat", "isthing": 0}],
    }  # fmt: skip
    home = folder({
        "annotations/panoptic_train.json": content, "images/train/a.jpg": None,
        "annotations/panoptic_train/a.png": None,
    })  # fmt: skip
    ids = np.zeros((20, 40, 3), np.uint8)
    ids[2:10, 2:12, 0] = 7
    Image.fromarray(ids).save(home / "annotations/panoptic_train/a.png")
    assert objects(f"auto:{home}@train") == [("cat", [2, 2, 12, 10], True)]


MIT_LABELME = (
    "<annotation><filename>a.jpg</filename><folder>{}</folder><object><name>{}</name><polygon>"
    "<pt><x>2</x><y>2</y></pt><pt><x>12</x><y>2</y></pt><pt><x>12</x><y>10</y></pt></polygon>"
    "</object></annotation>"
)
OPEN_IMAGES = "ImageID,LabelName,XMin,XMax,YMin,YMax\n{},{},0.05,0.3,0.1,0.5\n"


def test_images_of_one_name_in_two_splits_are_those_of_the_split(folder):
    """Datumaro writes them so, and Open Images' tables name images without an ending."""
    sets = {"train": "cat", "val": "dog"}
    homes = [f"{home}/{split}" for split in sets for home in ("mit/Images", "open/images")]
    home = folder({
        **{f"{place}/a.jpg": None for place in homes},
        **{f"open/images/{split}/sub/a.jpg": None for split in sets},
        **{f"mit/Annotations/{s}/a.xml": MIT_LABELME.format(s, name) for s, name in sets.items()},
        **{f"open/annotations/{s}-annotations-bbox.csv": OPEN_IMAGES.format(name, label)
           for (s, label), name in zip(sets.items(), ("a", "sub/a"), strict=True)},
    })  # fmt: skip
    for split, label in sets.items():
        assert [name for name, *_ in objects(f"auto:{home}/mit@{split}")] == [label]
        assert [name for name, *_ in objects(f"auto:{home}/open@{split}")] == [label]
        for layout in ("mit", "open"):
            (record,) = DatasetCatalog.get(f"auto:{home}/{layout}@{split}")
            assert f"/{split}/" in record["file_name"]


@pytest.mark.parametrize("name", ["darknet.labels", "classes.txt"])
def test_labels_of_yolo_beside_the_folder_of_images(folder, name):
    """As V7 writes them."""
    home = folder({"images/a.jpg": None, "a.txt": "0 0.5 0.5 0.4 0.4\n", name: "cat\n"})
    assert objects(f"auto:{home}") == [("cat", [12, 6, 28, 14], False)]


OBJECTS = {"bbox": [[2, 2, 10, 8]], "categories": ["cat"]}
ROW = json.dumps({"file_name": "a.jpg", "objects": OBJECTS})


@pytest.mark.parametrize("place", ["", "train/", "validation/"])
def test_images_with_a_metadata_jsonl_of_hugging_face_are_recognised(folder, monkeypatch, place):
    pytest.importorskip("datasets")
    home = folder({f"{place}a.jpg": None, f"{place}metadata.jsonl": ROW})
    monkeypatch.setenv("D2LITE_CACHE", str(home.parent / "cache"))
    split = "@val" if place == "validation/" else ""
    assert objects(f"auto:{home}{split}") == [("cat", [2, 2, 12, 10], False)]


@pytest.mark.parametrize("has_splits", [True, False])
def test_what_save_to_disk_of_hugging_face_wrote_is_recognised(folder, monkeypatch, has_splits):
    datasets = pytest.importorskip("datasets")
    home = folder({"a.jpg": None})
    monkeypatch.setenv("D2LITE_CACHE", str(home.parent / "cache"))
    row = {"image": str(home / "a.jpg"), "objects": OBJECTS}
    rows = datasets.Dataset.from_list([row]).cast_column("image", datasets.Image())
    saved = datasets.DatasetDict(train=rows, validation=rows) if has_splits else rows
    saved.save_to_disk(str(home / "saved"))
    for split in ("@train", "@val") if has_splits else ("",):
        assert objects(f"auto:{home / 'saved'}{split}") == [("cat", [2, 2, 12, 10], False)]


def shard(path, label):
    stream = io.BytesIO()
    Image.new("RGB", (40, 20)).save(stream, "PNG")
    sizes = {"width": 40, "height": 20}
    text = json.dumps({**sizes, "annotations": [{"category": label, "bbox": [2, 2, 10, 8]}]})
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in (("a.png", stream.getvalue()), ("a.json", text.encode())):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("name", ["{}-{:04d}.tar", "{}/shard-{:04d}.tar"])
def test_shards_of_webdataset_are_recognised_by_split(tmp_path, name):
    home = tmp_path / "work/w"
    for split, labels in {"train": ("cat", "dog"), "val": ("cat",)}.items():
        for number, label in enumerate(labels):
            shard(home / name.format(split, number), label)
    assert labels_of("auto:w@train") == ["cat", "dog"]
    assert labels_of("auto:w@val") == ["cat"]


def test_shards_of_no_split_one_shard_and_a_pattern(tmp_path):
    for number, label in enumerate(("cat", "dog")):
        shard(tmp_path / f"work/w/s{number}.tar", label)
    assert labels_of("auto:w") == labels_of("wds:w/s*.tar") == ["cat", "dog"]
    assert labels_of("auto:w/s1.tar") == ["dog"]
    with tarfile.open(tmp_path / "work/w/other.tar", "w") as archive:
        archive.add(__file__, "a.py")
    with pytest.raises(DataError, match="no kind that auto: knows"):
        DatasetCatalog.get("auto:w/other.tar")


def labels_of(string):
    names = MetadataCatalog.get(string).thing_classes
    return [names[o["category_id"]] for r in DatasetCatalog.get(string) for o in r["annotations"]]


COCO = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [], "categories": []}


@pytest.mark.parametrize(("files", "why"), [
    ({"annotations/captions_train.json": COCO}, "captions alone"),
    ({"annotations/image_info_test.json": COCO}, "images without labels"),
    ({"annotations/panoptic_train.json": COCO}, "no segments"),
    ({"gt_img_1.txt": "377,117,463,117,465,130,378,130,Genaxis Theatre\n"}, "ICDAR's"),
    ({"train/gt_img_1.txt": "377,117,463,117\n"}, "ICDAR's"),
    ({"task-1-annotation-1-by-1-label-cat-0.png": None}, "Label Studio exports them"),
    ({"masks/x.csv": "image_id,mask_id,class_name\n"}, "masks, which are not read: export COCO"),
    ({"x.csv": "class_name,class_color\ncat,1 2 3\n"}, "colours of maps of classes"),
    ({"a.json": '{"filename": "a", "itemMetadata": [], "annotations": []}'}, "Dataloop's own"),
    ({"datum-0.arrow": ""}, "what save_to_disk of Hugging Face wrote"),
    ({"a.datum": ""}, "export as datumaro or coco"),
    ({"x.xlsx": ""}, "save the table as CSV"),
    ({"x.txt": "0 0.5 0.5 0.1 0.1\n"}, "add classes.txt"),
])  # fmt: skip
def test_exports_that_are_not_read_are_told_with_what_to_do(folder, files, why):
    home = folder({"images/a.jpg": None, **files})
    with pytest.raises(DataError, match=why) as caught:
        DatasetCatalog.get(f"auto:{home}")
    says_yolo = "add classes.txt" in str(caught.value)
    assert says_yolo == ("x.txt" in files)
    assert "read when it is named itself" not in json.dumps(str(caught.value))
