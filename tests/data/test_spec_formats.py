"""YOLO, LabelMe and what auto: recognises."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.classes import create_keypoint_hflip_indices
from d2lite.structures import BoxMode
from d2lite.utils.errors import ConfigError, DataError, MissingFileError
from tests.data import spec_files as make
from tests.data.spec_files import labels_of

pytestmark = pytest.mark.usefixtures("own_folders")


def xyxy(obj):
    return BoxMode.convert(obj["bbox"], obj["bbox_mode"], BoxMode.XYXY_ABS)


def test_yolo_boxes_and_polygons_become_pixels(tmp_path):
    make.yolo(
        tmp_path / "work/y",
        train_a="1 0.5 0.5 0.2 0.4\n\n0 0.1 0.1 0.5 0.1 0.5 0.9\n",
        train_b=None,
    )
    first, second = DatasetCatalog.get("yolo:y/data.yaml")
    box, polygon = first["annotations"]
    np.testing.assert_allclose(xyxy(box), [8, 3, 12, 7])
    np.testing.assert_allclose(xyxy(polygon), [2, 1, 10, 9])
    np.testing.assert_allclose(polygon["segmentation"], [[2, 1, 10, 1, 10, 9]])
    assert (first["height"], first["width"]) == (10, 20)
    assert second["annotations"] == []
    assert labels_of("yolo:y/data.yaml@train") == [["owl", "cat"], []]
    assert MetadataCatalog.get("yolo:y").evaluator_type == "coco"


def test_yolo_file_without_splits_means_the_images_with_labels_around_it(tmp_path):
    """As supervision writes it: data.yaml has names alone."""
    make.yolo(tmp_path / "work/y", train_a="0 0.5 0.5 0.2 0.4")
    (tmp_path / "work/y/data.yaml").write_text("nc: 1\nnames: [cat]\n")
    assert labels_of("yolo:y") == labels_of("auto:y") == [["cat"]]


def test_yolo_names_may_be_a_mapping_with_gaps_and_labels_may_be_names(tmp_path):
    box = "0.5 0.5 0.2 0.4\n"
    make.yolo(tmp_path / "work/y", "{3: owl, 1: cat}", train_a=f"3 {box}1.0 {box}owl {box}")
    assert MetadataCatalog.get("yolo:y").thing_classes == ["cat", "owl"]
    assert labels_of("yolo:y") == [["owl", "cat", "owl"]]


def test_yolo_lines_that_cannot_be_read_are_counted(tmp_path, caplog):
    make.yolo(tmp_path / "work/y", train_a="0 0.1 0.1\n0 x 0.1 0.1 0.1\n0 0.5 0.5 0.2 0.4\n")
    with caplog.at_level(logging.INFO, "d2lite"):
        assert labels_of("yolo:y") == [["cat"]]
    assert "a.txt, line 1: 2 values after the class" in caplog.text
    assert "a.txt, line 2: values that are not numbers" in caplog.text


def test_yolo_classes_beyond_the_list_are_named_with_file_and_line(tmp_path, caplog):
    make.yolo(tmp_path / "work/y", train_a="0 0.5 0.5 0.2 0.4\n7 0.5 0.5 0.2 0.4\n")
    assert labels_of("yolo:y") == [["cat"]]
    assert "a.txt, line 2 has the class '7'; data.yaml has 0, 1" in caplog.text


@pytest.mark.parametrize("entry", ["../images/train", "./images/train", "[images/train]", "l.txt"])
def test_yolo_finds_images_by_every_way_to_write_them(tmp_path, entry):
    """Roboflow writes paths of another folder; Darknet lists files."""
    make.yolo(tmp_path / "work/y", train=entry, train_a="0 0.5 0.5 0.2 0.4\n")
    (tmp_path / "work/y/l.txt").write_text("./images/train/a.jpg\n")
    assert labels_of("yolo:y") == [["cat"]]


def test_yolo_files_that_are_none_are_told(tmp_path):
    make.yolo(tmp_path / "work/y", train_a="")
    with pytest.raises(ConfigError, match="no split 'test'; it has train, val"):
        DatasetCatalog.get("yolo:y@test")
    with pytest.raises(MissingFileError, match="images/val"):
        DatasetCatalog.get("yolo:y@val")
    (tmp_path / "work/bad.yaml").write_text("a: [")
    with pytest.raises(DataError, match="not valid YAML"):
        DatasetCatalog.get("yolo:bad.yaml")
    (tmp_path / "work/odd.yaml").write_text("a: 1")
    with pytest.raises(DataError, match="needs 'names'"):
        DatasetCatalog.get("yolo:odd.yaml")


def shape(label, points, kind="polygon", **more):
    return {"label": label, "points": points, "shape_type": kind, **more}


def roboflow(root):
    for split in ("train", "valid", "test"):
        make.coco(root / split / "_annotations.coco.json", objects=[(0, 1)], files=["a.jpg"])
        make.picture(root / split / "a.jpg")


def cvat(root):
    make.coco(root / "annotations/instances_default.json", objects=[(0, 1)], files=["a.jpg"])
    make.picture(root / "images/default/a.jpg")


def label_studio(root):
    make.coco(root / "result.json", ids=(0, 1), objects=[(0, 0)], files=["images/1-a.jpg"])
    make.picture(root / "images/1-a.jpg")


def coco_folders(root):
    for split in ("train2017", "val2017"):
        make.coco(root / f"annotations/instances_{split}.json", objects=[(0, 1)], files=["a.jpg"])
        make.coco(root / f"annotations/captions_{split}.json", files=["a.jpg"])
        make.coco(root / f"annotations/person_keypoints_{split}.json", ["man"], files=["a.jpg"])
        make.picture(root / split / "a.jpg")


def yolo(root):
    make.yolo(root, train_a="0 0.5 0.5 0.2 0.4\n", val_a="0 0.5 0.5 0.2 0.4\n")


def voc(root):
    make.voc(root, train={"a": ["cat"]}, val={"b": ["cat"]})


def xml_beside_images(root):
    """As Roboflow writes VOC."""
    for split in ("train", "valid", "test"):
        made = make.voc(root / "made", train={"a": ["cat"]})
        (root / split).mkdir()
        (made / "Annotations/a.xml").rename(root / split / "a.xml")
        (made / "JPEGImages/a.jpg").rename(root / split / "a.jpg")
    shutil.rmtree(root / "made")


def unlisted_voc(root):
    """Annotations and images, and nothing that lists them."""
    make.voc(root, ending=".png", train={"a": ["cat"]})
    shutil.rmtree(root / "ImageSets")


def labelimg(root):
    """One folder of .xml and .jpg."""
    xml_beside_images(root)
    for path in (root / "train").iterdir():
        path.rename(root / path.name)
    for split in ("train", "valid", "test"):
        shutil.rmtree(root / split)


def labelme(root):
    for split in ("train", "val"):
        make.labelme(root / split / "a.json", shape("cat", [[1, 1], [5, 1], [5, 4]]))


@pytest.mark.parametrize(
    ("layout", "splits"),
    [
        (roboflow, [None, "train", "val", "valid", "test"]),
        (cvat, [None]),
        (label_studio, [None]),
        (coco_folders, [None, "train", "val"]),
        (yolo, [None, "train", "val"]),
        (voc, [None, "train", "val"]),
        (xml_beside_images, [None, "train", "val", "test"]),
        (unlisted_voc, [None]),
        (labelimg, [None]),
        (labelme, [None, "train", "val"]),
    ],
)
def test_auto_recognises_what_tools_export(tmp_path, layout, splits):
    root = tmp_path / "work/d"
    root.mkdir()
    layout(root)
    for split in splits:
        name = f"auto:d@{split}" if split else "auto:d"
        assert labels_of(name) == [["cat"]]
        assert all(Path(r["file_name"]).is_file() for r in DatasetCatalog.get(name))
        expected = "pascal_voc" if layout is voc else "coco"
        assert MetadataCatalog.get(name).evaluator_type == expected
    with pytest.raises(ConfigError, match="there is no split 'nope'"):
        DatasetCatalog.get("auto:d@nope")


def test_voc_without_lists_of_images_is_all_of_it(tmp_path):
    """LabelImg writes no ImageSets; COCO's metric then, as VOC's reads the lists."""
    root = tmp_path / "work/d"
    unlisted_voc(root)
    assert labels_of("voc:d") == [["cat"]]
    (record,) = DatasetCatalog.get("voc:d")
    assert (record["file_name"], record["image_id"]) == (str(root / "JPEGImages/a.png"), 1)
    assert MetadataCatalog.get("voc:d").evaluator_type == "coco"
    with pytest.raises(ConfigError, match=r"no ImageSets/Main.*auto:d@train\?val_fraction"):
        DatasetCatalog.get("voc:d@train")
    (tmp_path / "work/e").mkdir()
    xml_beside_images(tmp_path / "work/e")
    assert labels_of("voc:e@valid") == [["cat"]]
    with pytest.raises(ConfigError, match="has the splits test, train, valid"):
        DatasetCatalog.get("voc:e")


def test_other_xml_files_are_not_taken_for_voc(tmp_path):
    """CVAT's own format, for one."""
    make.picture(tmp_path / "work/d/a.jpg")
    (tmp_path / "work/d/annotations.xml").write_text("<?xml version='1.0'?><annotations/>")
    with pytest.raises(MissingFileError, match=r"annotations of VOC's format.*d/Annotations"):
        DatasetCatalog.get("voc:d")
    with pytest.raises(DataError, match="no layout"):
        DatasetCatalog.get("auto:d")


def test_auto_draws_a_validation_share_that_training_does_not_have(tmp_path):
    root = tmp_path / "work/d"
    files = [f"{i}.jpg" for i in range(10)]
    make.coco(root / "result.json", objects=[(i, 1) for i in range(10)], files=files)
    make.picture(root / "images/0.jpg")

    def names(split, more=""):
        records = DatasetCatalog.get(f"auto:d@{split}?val_fraction=0.3{more}")
        return {record["file_name"] for record in records}

    assert len(names("val")) == 3
    assert names("val") | names("train") == names("val", "&classes=cat") | names("train")
    assert not names("val") & names("train")
    assert len(names("val") | names("train")) == 10
    assert names("val", "&seed=1") != names("val")
    metadata = MetadataCatalog.get("auto:d@val?val_fraction=0.3")
    assert metadata.json_file is None  # it has the training images too
    assert metadata.evaluator_type == "coco"
    with pytest.raises(ConfigError, match=r"no split 'val'.*val_fraction=0\.2"):
        DatasetCatalog.get("auto:d@val")
    with pytest.raises(DataError, match="cannot be split"):
        DatasetCatalog.get("auto:d@val?val_fraction=0.99")


def test_auto_draws_nothing_where_the_data_are_split(tmp_path):
    (tmp_path / "work/d").mkdir()
    roboflow(tmp_path / "work/d")
    with pytest.raises(ConfigError, match="validation split of their own"):
        DatasetCatalog.get("auto:d@val?val_fraction=0.2")


def test_auto_says_what_it_found_and_what_it_knows(tmp_path):
    make.picture(tmp_path / "work/d/x.png")
    with pytest.raises(DataError, match="has images and no labels"):
        DatasetCatalog.get("auto:d")
    with pytest.raises(DataError, match="a file of no kind that auto: knows"):
        DatasetCatalog.get("auto:d/x.png")


def test_keypoints_of_a_coco_string_have_their_names_and_flips(tmp_path):
    """People register nothing, so the file has to say it."""
    root = tmp_path / "work/k"
    make.coco(root / "k.json", objects=[(0, 1)], files=["a.jpg"])
    content = json.loads((root / "k.json").read_text())
    for category in content["categories"]:
        category["keypoints"] = ["nose", "left_eye", "right_eye"]
    (root / "k.json").write_text(json.dumps(content))
    make.picture(root / "a.jpg")
    for name in ("coco:k/k.json", "auto:k", "coco:k/k.json?classes=cat"):
        assert MetadataCatalog.get(name).keypoint_names == ["nose", "left_eye", "right_eye"]
        assert create_keypoint_hflip_indices(name) == [0, 2, 1]


def test_yolo_pose_lines_become_boxes_and_keypoints(tmp_path):
    file = make.yolo(tmp_path / "work/y", train_a="0 .5 .5 .4 .4 .25 .5 0 0\n")
    file.write_text(file.read_text() + "kpt_shape: [2, 2]\nflip_idx: [1, 0]\n")
    ((obj,),) = [record["annotations"] for record in DatasetCatalog.get("yolo:y")]
    assert "segmentation" not in obj
    width, height = (DatasetCatalog.get("yolo:y")[0][key] for key in ("width", "height"))
    # The point at the origin is one that nobody labelled.
    np.testing.assert_allclose(obj["keypoints"], [width / 4, height / 2, 2, 0, 0, 0])
    assert MetadataCatalog.get("yolo:y").keypoint_names == ["point 0", "point 1"]
    assert create_keypoint_hflip_indices("yolo:y") == [1, 0]


def test_keypoints_without_names_are_refused_with_where_to_name_them(tmp_path):
    make.yolo(tmp_path / "work/y", train_a="0 .5 .5 .4 .4\n")
    with pytest.raises(
        DataError, match=r"yolo:y' has no keypoints, or they have no names.*kpt_shape"
    ):
        create_keypoint_hflip_indices("yolo:y")
