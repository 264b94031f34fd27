"""The built-in names, and what they say when their files are missing."""

import json

import pytest

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.datasets.builtin_meta import (
    COCO_CATEGORIES,
    COCO_PERSON_KEYPOINT_FLIP_MAP,
    COCO_PERSON_KEYPOINT_NAMES,
    KEYPOINT_CONNECTION_RULES,
)
from d2lite.utils.errors import MissingFileError
from tests.shared_data import shared_data

COCO = [
    f"{group}_{year}_{split}"
    for group in ("coco", "keypoints_coco")
    for year, splits in (
        (2014, "train val minival valminusminival"),
        (2017, "train val val_100"),
    )
    for split in splits.split()
]
VOC = ["voc_2007_train", "voc_2007_val", "voc_2007_trainval", "voc_2007_test"]
VOC += ["voc_2012_train", "voc_2012_val", "voc_2012_trainval"]


@pytest.mark.parametrize(
    ("name", "evaluator"),
    [
        *((name, "coco") for name in [*COCO, "coco_2017_test", "coco_2017_test-dev"]),
        *((name, "pascal_voc") for name in VOC),
        ("shapes_train", "coco"),
        ("shapes_val", "coco"),
    ],
)
def test_every_name_is_registered_with_its_evaluator(name, evaluator):
    assert name in DatasetCatalog.list()
    assert MetadataCatalog.get(name).evaluator_type == evaluator


@pytest.mark.parametrize("variable", ["D2LITE_DATASETS", "DETECTRON2_DATASETS"])
def test_the_folder_is_looked_up_when_the_set_is_loaded(monkeypatch, tmp_path, variable):
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 2, "width": 3}],
        "categories": [{"id": c["id"], "name": c["name"]} for c in COCO_CATEGORIES],
        "annotations": [],
    }
    path = tmp_path / "coco/annotations/instances_val2017.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
    monkeypatch.setenv(variable, str(tmp_path))
    record = DatasetCatalog.get("coco_2017_val")[0]
    assert record["file_name"] == str(tmp_path / "coco/val2017/a.jpg")
    assert MetadataCatalog.get("coco_2017_val").json_file == str(path)


def test_our_variable_comes_before_the_old_one(monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", "old")
    monkeypatch.setenv("D2LITE_DATASETS", "new")
    assert MetadataCatalog.get("voc_2007_test").dirname == "new/VOC2007"


def test_missing_files_name_path_variable_and_source(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingFileError) as info:
        DatasetCatalog.get("coco_2017_train")
    text = str(info.value)
    assert str(tmp_path / "datasets/coco/annotations/instances_train2017.json") in text
    assert "D2LITE_DATASETS" in text
    assert "./datasets" in text
    assert "cocodataset.org" in text
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    with pytest.raises(MissingFileError, match=r"\$DETECTRON2_DATASETS is .*data.*VOC") as info:
        DatasetCatalog.get("voc_2012_val")


def test_the_table_of_coco_has_80_classes_in_order_of_id():
    ids = [category["id"] for category in COCO_CATEGORIES]
    assert len(ids) == 80
    assert ids == sorted(set(ids))
    assert (ids[0], ids[-1]) == (1, 90)
    assert COCO_CATEGORIES[11] == {
        "id": 13,
        "name": "stop sign",
        "color": [220, 220, 0],
        "isthing": 1,
    }
    assert len({tuple(category["color"]) for category in COCO_CATEGORIES}) == 80


def test_the_table_of_coco_agrees_with_its_files():
    path = shared_data("coco_tiny/annotations/instances_val2017.json")
    found = {c["id"]: c["name"] for c in json.loads(path.read_text())["categories"]}
    assert found == {c["id"]: c["name"] for c in COCO_CATEGORIES}


def test_keypoints_are_17_and_mirror_in_pairs():
    assert len(COCO_PERSON_KEYPOINT_NAMES) == 17
    assert len(COCO_PERSON_KEYPOINT_FLIP_MAP) == 8
    paired = {name for pair in COCO_PERSON_KEYPOINT_FLIP_MAP for name in pair}
    assert paired == set(COCO_PERSON_KEYPOINT_NAMES) - {"nose"}
    ends = {name for start, stop, _ in KEYPOINT_CONNECTION_RULES for name in (start, stop)}
    assert ends <= set(COCO_PERSON_KEYPOINT_NAMES)
    assert MetadataCatalog.get("keypoints_coco_2017_val").thing_classes == ["person"]
