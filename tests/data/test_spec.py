"""Datasets that a string names: what a string may be, where files are looked for, classes."""

import copy
import logging
import pickle
import shutil

import pytest

from d2lite.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts
from d2lite.data.catalog import dataset_file_stem
from d2lite.data.datasets.by_string.registration import parse_spec
from d2lite.evaluation import build_evaluator
from d2lite.utils.errors import ConfigError, DataError, MissingFileError
from tests.data import spec_files as make
from tests.data.spec_files import detections, labels_of
from tests.shared_data import shared_data

pytestmark = pytest.mark.usefixtures("own_folders")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("coco:a/b.json@img", ("coco", "a/b.json", "img", None)),
        ("coco:a b/ü.json", ("coco", "a b/ü.json", None, None)),
        ("voc:r@val?classes=big cat, dog", ("voc", "r", "val", ["big cat", "dog"])),
        ("voc:r@val?year=2007&classes=salt & pepper", ("voc", "r", "val", ["salt & pepper"])),
        ("yolo:what?/data.yaml@val", ("yolo", "what?/data.yaml", "val", None)),
        ("labelme:dir", ("labelme", "dir", None, None)),
        (
            "coco:me@home/a.json@me/img",
            ("coco", "me@home/a.json@me/img".rpartition("@")[0], "me/img", None),
        ),
    ],
)
def test_a_string_has_a_kind_a_path_a_part_and_options(name, parts):
    spec = parse_spec(name)
    assert (spec.kind, spec.path, spec.part, spec.classes) == parts
    assert name in DatasetCatalog
    assert spec.year == (2007 if "2007" in name else 2012)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("coco:", "empty.*coco:ANNOTATIONS.json@IMAGES_DIR"),
        ("voc:root@", "empty.*voc:ROOT@SPLIT"),
        ("images:dir@train", "'@train'.*images:DIR"),
        ("yolo:a.yaml?year=2007", "option 'year'.*yolo:DATA.yaml@SPLIT.*classes=cat,dog"),
        ("voc:root?year=2010", "2010.*2007.*2012"),
        ("auto:d?val_fraction=2", "between 0 and 1"),
        ("auto:d?val_fraction=half", "between 0 and 1"),
        ("auto:d?seed=1", "val_fraction, which is not given"),
        ("auto:d?val_fraction=0.1&seed=x", "whole number"),
        ("coco:a.json?classes=a,,b", "different class names"),
        ("coco:a.json?classes=a,a", "different class names"),
    ],
)
def test_a_malformed_string_is_told_the_right_form(name, why):
    assert name not in DatasetCatalog
    for catalog in (DatasetCatalog, MetadataCatalog):
        with pytest.raises(ConfigError, match=why):
            catalog.get(name)
    assert name not in DatasetCatalog.list()


def test_files_are_looked_for_in_the_working_folder_and_then_under_the_root(tmp_path):
    make.coco(tmp_path / "root/set/a.json", objects=[(0, 1)])
    make.picture(tmp_path / "root/set/images/a.jpg")
    name = "coco:set/a.json@set/images"
    assert DatasetCatalog.get(name)[0]["file_name"] == str(tmp_path / "root/set/images/a.jpg")
    make.coco(tmp_path / "work/set/b.json", objects=[(0, 1)])
    make.picture(tmp_path / "work/set/images/a.jpg")
    record = DatasetCatalog.get("coco:set/b.json@set/images")[0]
    assert record["file_name"] == str(tmp_path / "work/set/images/a.jpg")


@pytest.mark.parametrize(
    "name",
    ["voc:d@val", "yolo:d@val", "labelme:d", "masks:d", "images:d", "auto:d@val", "coco:a.json@d"],
)
def test_a_folder_that_has_only_the_name_hides_no_dataset(tmp_path, name):
    """An output folder called as the dataset is in the working folder of many people."""
    kind = name.partition(":")[0]
    root = tmp_path / "root/d"
    (tmp_path / "work/d/metrics").mkdir(parents=True)
    make.picture(root / "a.jpg")
    if kind in ("voc", "auto"):
        make.voc(root, val={"a": ["cat"]})
    elif kind == "yolo":
        make.yolo(root, val_a="0 0.5 0.5 0.2 0.4")
    elif kind == "labelme":
        make.labelme(root / "a.json", {"label": "cat", "points": [[1, 1], [8, 1], [8, 8]]})
    elif kind == "masks":
        make.picture(root / "images/a.jpg")
        (root / "masks").mkdir()
        (root / "classes.txt").write_text("cat\n")
    elif kind == "coco":
        make.coco(tmp_path / "work/a.json", objects=[(0, 1)])
    (record, *_) = DatasetCatalog.get(name)
    assert record["file_name"].startswith(str(root))


def test_missing_files_are_told_with_every_place_and_the_variable(tmp_path):
    name = "coco:set/a.json@set/images"
    assert name in DatasetCatalog
    # A model that has its class names must load without the data that it was trained on.
    assert MetadataCatalog.get(name).get("thing_classes") is None
    assert "json_file" not in MetadataCatalog.get(name).as_dict()
    with pytest.raises(MissingFileError) as info:
        DatasetCatalog.get(name)
    text = str(info.value)
    assert str(tmp_path / "work/set/a.json") in text
    assert str(tmp_path / "root/set/a.json") in text
    assert "$D2LITE_DATASETS" in text
    with pytest.raises(MissingFileError):
        _ = MetadataCatalog.get(name).json_file


def test_a_coco_string_carries_all_metadata_and_trains(tmp_path):
    """Ids with gaps and zero, no area, no iscrowd, a polygon of two points: as tools write them."""
    broken = {"id": 9, "image_id": 1, "category_id": 0, "bbox": [0, 0, 1, 1]}
    path = make.coco(tmp_path / "work/a.json", ids=(7, 0), objects=[(0, 7), (0, 0)])
    content = path.read_text().replace(
        '"annotations": [',
        '"annotations": ['
        + str({**broken, "segmentation": [[1, 1, 2, 2]]}).replace("'", '"')
        + ", ",
    )
    path.write_text(content)
    make.picture(tmp_path / "work/images/a.jpg")
    name = "coco:a.json"
    metadata = MetadataCatalog.get(name)
    assert metadata.thing_classes == ["owl", "cat"]
    assert metadata.thing_dataset_id_to_contiguous_id == {0: 0, 7: 1}
    assert (metadata.evaluator_type, metadata.json_file) == ("coco", str(path))
    assert metadata.image_root == str(tmp_path / "work/images")
    assert labels_of(name) == [["cat", "owl"], []]
    assert len(get_detection_dataset_dicts([name])) == 1
    assert (
        copy.deepcopy(metadata).thing_classes == pickle.loads(pickle.dumps(metadata)).thing_classes
    )


@pytest.mark.parametrize(
    ("json_path", "image", "named"),
    [
        ("a.json", "a.jpg", "a.jpg"),
        ("a.json", "images/a.jpg", "a.jpg"),
        ("annotations/instances_train2017.json", "train2017/a.jpg", "a.jpg"),
        ("annotations/instances_default.json", "images/default/a.jpg", "a.jpg"),
        ("result.json", "images/1f2e3d4c-a.jpg", r"images\\8\\1f2e3d4c-a.jpg"),
        ("result.json", "images/a.jpg", "/data/upload/3/1f2e3d4c-a.jpg"),
    ],
)
def test_the_images_are_found_where_tools_put_them(tmp_path, json_path, image, named):
    named = named.replace("\\\\", "\\")
    make.coco(tmp_path / "work" / json_path, files=[named], objects=[(0, 1)])
    file = make.picture(tmp_path / "work" / image)
    assert DatasetCatalog.get(f"coco:{json_path}")[0]["file_name"] == str(file)


def test_images_that_are_nowhere_are_told_with_the_folders(tmp_path):
    make.coco(tmp_path / "work/x/a.json", objects=[(0, 1)])
    with pytest.raises(
        MissingFileError, match=r"a\.jpg of .*a\.json.*work/x.*coco:a\.json@IMAGES_DIR"
    ):
        DatasetCatalog.get("coco:x/a.json")


def test_the_placeholder_of_roboflow_is_dropped_and_said(tmp_path, caplog):
    categories = [
        {"id": 0, "name": "birds", "supercategory": "none"},
        {"id": 1, "name": "owl", "supercategory": "birds"},
    ]
    make.coco(tmp_path / "work/a.json", objects=[(0, 1)], categories=categories)
    make.picture(tmp_path / "work/a.jpg")
    with caplog.at_level(logging.INFO, "d2lite"):
        assert MetadataCatalog.get("coco:a.json").thing_classes == ["owl"]
    assert "left out category 0, 'birds'" in caplog.text
    make.coco(tmp_path / "work/b.json", objects=[(0, 0)], categories=categories)
    assert MetadataCatalog.get("coco:b.json").thing_classes == ["birds", "owl"]


def test_an_unused_class_of_id_zero_is_no_placeholder(tmp_path):
    """Label Studio counts from 0; a split without the first class must keep its number."""
    make.coco(tmp_path / "work/a.json", ids=(0, 1), objects=[(0, 1)])
    make.picture(tmp_path / "work/a.jpg")
    assert MetadataCatalog.get("coco:a.json").thing_classes == ["cat", "owl"]


def test_classes_are_chosen_by_name_and_numbered_in_that_order(tmp_path):
    make.coco(tmp_path / "work/a.json", ("ant", "cat", "owl"), objects=[(0, 1), (0, 3), (1, 2)])
    make.picture(tmp_path / "work/a.jpg")
    name = "coco:a.json?classes=owl,ant"
    metadata = MetadataCatalog.get(name)
    assert metadata.thing_classes == ["owl", "ant"]
    assert metadata.thing_dataset_id_to_contiguous_id == {3: 0, 1: 1}
    # The file has classes that do not count here, so evaluation must not read it.
    assert metadata.json_file is None
    assert labels_of(name) == [["ant", "owl"], []]
    assert [o["category_id"] for o in DatasetCatalog.get(name)[0]["annotations"]] == [1, 0]
    with pytest.raises(ConfigError, match=r"no class 'dog'.*3: ant, cat, owl"):
        DatasetCatalog.get("coco:a.json?classes=dog,cat")


def test_one_class_of_two_ids_is_refused(tmp_path):
    make.coco(tmp_path / "work/a.json", ("cat", "cat"), objects=[(0, 1)])
    make.picture(tmp_path / "work/a.jpg")
    with pytest.raises(DataError, match="'cat' are defined more than once"):
        DatasetCatalog.get("coco:a.json")


def test_voc_classes_come_from_all_splits(tmp_path):
    """The test split may lack a class, or have one that training lacks."""
    root = make.voc(
        tmp_path / "root/cells", train={"a": ["WBC", "RBC"]}, test={"b": ["RBC"], "c": ["ant"]}
    )
    train, test = "voc:cells@train", "voc:cells@test"
    assert MetadataCatalog.get(train).thing_classes == ["RBC", "WBC", "ant"]
    assert MetadataCatalog.get(test).thing_classes == ["RBC", "WBC", "ant"]
    metadata = MetadataCatalog.get(test)
    assert (metadata.dirname, metadata.split, metadata.year) == (str(root), "test", 2012)
    assert metadata.evaluator_type == "pascal_voc"
    assert labels_of(test) == [["RBC"], ["ant"]]
    assert MetadataCatalog.get("voc:cells@test?year=2007").year == 2007
    with pytest.raises(ConfigError, match=r"splits test, train.*voc:cells@test"):
        DatasetCatalog.get("voc:cells")
    with pytest.raises(ConfigError, match=r"no split 'val'; it has test, train"):
        DatasetCatalog.get("voc:cells@val")


def test_voc_classes_are_in_the_order_of_cvats_label_map(tmp_path):
    root = make.voc(tmp_path / "v", train={"a": ["owl"], "b": ["bee"]})
    text = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nowl:1,2,3::\ncat:4,5,6::\n"
    (root / "labelmap.txt").write_text(text)
    assert MetadataCatalog.get(f"voc:{root}@train").thing_classes == ["owl", "cat", "bee"]


@pytest.mark.parametrize("folder", ["labels", "annotations", "xmls"])
def test_voc_files_may_be_in_a_folder_of_another_name(tmp_path, folder):
    root = make.voc(tmp_path / "v", train={"a": ["owl"]})
    shutil.rmtree(root / "ImageSets")
    (root / "JPEGImages").rename(root / "images")
    (root / "Annotations").rename(root / folder)
    for name in (f"auto:{root}", f"voc:{root}"):
        (record,) = DatasetCatalog.get(name)
        assert record["file_name"] == str(root / "images/a.jpg")
        assert len(record["annotations"]) == 1


def test_voc_images_may_be_of_another_kind_than_jpg(tmp_path):
    make.voc(tmp_path / "root/cells", ending=".png", trainval={"a": ["cat"]}, test={"b": ["cat"]})
    assert DatasetCatalog.get("voc:cells")[0]["file_name"].endswith("JPEGImages/a.png")


def test_a_folder_of_images_has_no_annotations_and_can_be_predicted(tmp_path):
    make.picture(tmp_path / "work/in/a b.png")
    make.picture(tmp_path / "work/in/sub/é.JPG", size=(5, 7))
    (tmp_path / "work/in/notes.txt").write_text("no image")
    first, second = DatasetCatalog.get("images:in")
    assert first["file_name"].endswith("a b.png")
    assert (second["height"], second["width"]) == (7, 5)
    assert "annotations" not in first
    (tmp_path / "work/none").mkdir()
    with pytest.raises(DataError, match="no images in"):
        DatasetCatalog.get("images:none")


@pytest.mark.parametrize("kind", ["coco", "masks alone", "selected", "voc", "unlisted", "yolo"])
def test_perfect_predictions_score_100_whatever_the_files(tmp_path, kind):
    """Class numbers find their way back to the files' ids or names."""
    work = tmp_path / "work"
    make.coco(work / "a.json", ("ant", "cat", "owl"), (9, 4, 0), [(0, 9), (1, 0)])
    make.picture(work / "a.jpg")
    text = (work / "a.json").read_text()
    (work / "masks.json").write_text(text.replace('"bbox": [2, 2, 6, 6], ', ""))
    make.voc(work / "voc", val={"a": ["ant"], "b": ["owl"]})
    make.voc(work / "unlisted", val={"a": ["ant"], "b": ["owl"]})
    shutil.rmtree(work / "unlisted/ImageSets")
    line = "{} 0.25 0.5 0.3 0.6\n"
    make.yolo(work / "y", "[ant, owl]", val_a=line.format(0), val_b=line.format(1))
    name = {
        "coco": "coco:a.json",
        "masks alone": "coco:masks.json",
        "selected": "coco:a.json?classes=owl,ant",
        "unlisted": "voc:unlisted",
        "voc": "voc:voc@val",
        "yolo": "yolo:y@val",
    }[kind]
    evaluator = build_evaluator(name, output_dir=tmp_path / "out")
    for record in DatasetCatalog.get(name):
        evaluator.process(
            *detections(record["image_id"], [o["category_id"] for o in record["annotations"]])
        )
    found = evaluator.evaluate()["bbox"]
    assert found["AP50"] == pytest.approx(100)
    assert found["AP-owl"] == pytest.approx(100)


def test_predictions_on_images_alone_are_saved_and_not_scored(tmp_path):
    make.picture(tmp_path / "work/in/a.png")
    MetadataCatalog.get("images:in").set(thing_classes=["cat"])
    evaluator = build_evaluator("images:in", output_dir=tmp_path / "out")
    evaluator.process(*detections(1, [0]))
    assert evaluator.evaluate() == {}
    assert '"score": 0.89' in (tmp_path / "out/coco_instances_results.json").read_text()


def test_strings_and_registered_names_train_together(tmp_path):
    make.coco(tmp_path / "work/a.json", objects=[(0, 1)])
    make.picture(tmp_path / "work/a.jpg")
    DatasetCatalog.register("mine", lambda: [{"file_name": "m", "annotations": []}])
    MetadataCatalog.get("mine").thing_classes = ["owl", "cat"]
    records = get_detection_dataset_dicts(["coco:a.json", "mine"], filter_empty=False)
    assert len(records) == 3


def test_the_table_of_classes_is_shown_once_for_a_set(tmp_path, caplog):
    make.coco(tmp_path / "work/a.json", ids=(3, 8), objects=[(0, 8), (1, 8)])
    make.picture(tmp_path / "work/a.jpg")
    with caplog.at_level(logging.INFO, "d2lite"):
        for _ in range(2):
            get_detection_dataset_dicts("coco:a.json")
    rows = [line.split() for line in caplog.text.splitlines()]
    assert rows.count(["1", "8", "owl", "2", "2"]) == 1
    assert rows.count(["0", "3", "cat", "0", "0"]) == 1


def test_a_name_becomes_a_file_name():
    assert dataset_file_stem("coco:/data/a b.json@x?classes=é") == "coco_data_a_b.json_x_classes_é"
    assert dataset_file_stem("shapes_val") == "shapes_val"


@pytest.mark.parametrize(
    ("name", "count", "classes"),
    [
        ("voc:bccd@trainval", 292, ["Platelets", "RBC", "WBC"]),
        ("voc:bccd@test", 72, ["Platelets", "RBC", "WBC"]),
        ("coco:fruit_nuts/trainval.json@fruit_nuts/images", 18, ["date", "fig", "hazelnut"]),
        ("coco:fruit_nuts/trainval.json", 18, ["date", "fig", "hazelnut"]),
        ("auto:fruit_nuts", 18, ["date", "fig", "hazelnut"]),
        ("auto:coco_tiny@val", 80, None),
    ],
)
def test_real_photographs_load_by_their_strings(monkeypatch, name, count, classes):
    folder = shared_data(name.partition(":")[2].split("@")[0].split("/")[0])
    monkeypatch.setenv("D2LITE_DATASETS", str(folder.parent))
    records = get_detection_dataset_dicts([name], filter_empty=False)
    assert len(records) == count
    assert MetadataCatalog.get(name).thing_classes == (
        classes or MetadataCatalog.get("coco_2017_val").thing_classes
    )
