"""Evaluation sets follow the class order of the training."""

import numpy as np
import pytest

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.classes.class_order import follow_class_order, select_classes
from d2lite.data.datasets import load_coco_json, register_coco_instances, register_pascal_voc
from d2lite.engine.derived_config.checks import load_test_classes
from d2lite.evaluation import build_evaluator
from d2lite.structures import BoxMode
from tests.data import spec_files as make
from tests.data.spec_files import detections, labels_of

pytestmark = pytest.mark.usefixtures("own_folders")


@pytest.fixture
def names(tmp_path):
    """Sets with an "ant" in the first image and an "owl" in the second; ids 5 and 2 in the file."""
    work = tmp_path / "work"
    make.coco(work / "a.json", ("ant", "owl"), (5, 2), [(0, 5), (1, 2)])
    make.picture(work / "a.jpg")
    make.voc(work / "voc", val={"a": ["ant"], "b": ["owl"]})
    register_coco_instances("by_code", {}, work / "a.json", work)
    register_pascal_voc("voc_by_code", str(work / "voc"), "val", 2012, ["owl", "ant"])
    line = "{} 0.25 0.5 0.3 0.6\n"
    make.yolo(work / "y", "[ant, owl]", val_a=line.format(0), val_b=line.format(1))
    return ["coco:a.json", "voc:voc@val", "by_code", "voc_by_code", "yolo:y@val"]


@pytest.mark.parametrize("order", [["ant", "owl"], ["owl", "ant"]])
def test_records_metadata_and_evaluation_follow_together(names, order, tmp_path):
    for name in names:
        before = labels_of(name)
        assert load_test_classes([name], order) == {name: order}
        assert labels_of(name) == before == [["ant"], ["owl"]]
        evaluator = build_evaluator(name, output_dir=tmp_path / "out")
        for record, label in zip(DatasetCatalog.get(name), ("ant", "owl"), strict=True):
            evaluator.process(*detections(record["image_id"], [order.index(label)]))
        found = evaluator.evaluate()["bbox"]
        assert found["AP-ant"] == pytest.approx(100)
        assert found["AP-owl"] == pytest.approx(100)


def test_the_files_own_ids_stay_with_their_names(names):
    name = names[0]
    assert MetadataCatalog.get(name).thing_classes == ["owl", "ant"]
    follow_class_order(name, ["ant", "owl"])
    metadata = MetadataCatalog.get(name)
    assert metadata.thing_dataset_id_to_contiguous_id == {2: 1, 5: 0}
    assert [r["annotations"][0]["category_id"] for r in DatasetCatalog.get(name)] == [0, 1]
    follow_class_order(name, ["owl", "ant"])
    assert metadata.thing_dataset_id_to_contiguous_id == {2: 0, 5: 1}


@pytest.mark.parametrize("number", range(5))
def test_classes_of_other_sets_are_joined_by_name_and_the_rest_is_not_scored(
    names, number, tmp_path, caplog
):
    """A rare class is in one of two files only."""
    name, order = names[number], ["cat", "ant"]
    for again in (order, ["owl", "bee"], order):
        assert load_test_classes([name], again) == {name: again}
    assert "Only in the dataset, so not scored: owl." in caplog.text
    assert "Only in the model, so without a score here: cat." in caplog.text
    assert labels_of(name) == [["ant"], []]
    evaluator = build_evaluator(name, output_dir=tmp_path / "out")
    first, second = DatasetCatalog.get(name)
    evaluator.process(*detections(first["image_id"], [1]))
    evaluator.process(*detections(second["image_id"], [0]))
    found = evaluator.evaluate()["bbox"]
    assert found["AP"] == found["AP-ant"] == pytest.approx(100)
    assert "AP-owl" not in found


def test_other_classes_are_left_alone(names):
    follow_class_order(names[0], ["bee", "cat"])
    assert MetadataCatalog.get(names[0]).thing_classes == ["owl", "ant"]
    follow_class_order("of nobody", ["ant"])


@pytest.fixture
def own_functions(names, tmp_path):
    """Sets of plain functions: numbers of its own, with ids, and one that reads the metadata."""

    def numbered():
        box = {"bbox": [2, 2, 8, 8], "bbox_mode": BoxMode.XYXY_ABS}
        return [
            {"file_name": f"{i}.jpg", "image_id": i, "height": 10, "width": 20,
             "annotations": [{**box, "category_id": np.int64(number)}]}
            for i, number in enumerate((1, 0))
        ]  # fmt: skip

    work = tmp_path / "work"
    DatasetCatalog.register("plain", numbered)
    MetadataCatalog.get("plain").set(thing_classes=["owl", "ant"], evaluator_type="coco")
    DatasetCatalog.register("plain_with_ids", numbered)
    MetadataCatalog.get("plain_with_ids").set(
        thing_classes=["owl", "ant"],
        thing_dataset_id_to_contiguous_id={7: 0, 9: 1},
        evaluator_type="coco",
    )
    DatasetCatalog.register("reads", lambda: load_coco_json(work / "a.json", work, "reads"))
    MetadataCatalog.get("reads").set(evaluator_type="coco", json_file=str(work / "a.json"))
    made = ["plain", "plain_with_ids", "reads"]
    yield made
    for name in made:
        DatasetCatalog.pop(name)
        MetadataCatalog.pop(name)


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("order", [["ant", "owl"], ["cat", "ant"], ["owl", "cat", "ant"]])
def test_functions_of_ones_own_are_joined_by_name_too(own_functions, number, order, tmp_path):
    name = own_functions[number]
    for again in (order, ["owl", "ant"], order):
        assert load_test_classes([name], again) == {name: again}
    assert labels_of(name) == [["ant"], ["owl"] if "owl" in order else []]
    evaluator = build_evaluator(name, output_dir=tmp_path / "out")
    for record, label in zip(DatasetCatalog.get(name), ("ant", "owl"), strict=True):
        found = [order.index(label)] if label in order else [0]
        evaluator.process(*detections(record["image_id"], found))
    scores = evaluator.evaluate()["bbox"]
    assert scores["AP"] == scores["AP-ant"] == pytest.approx(100)


def test_functions_with_an_evaluator_of_another_benchmark_are_left_alone(own_functions):
    MetadataCatalog.get("plain").replace(evaluator_type="cityscapes_instance")
    follow_class_order("plain", ["ant", "owl"])
    assert MetadataCatalog.get("plain").thing_classes == ["owl", "ant"]


def test_images_alone_take_over_the_names(tmp_path):
    make.picture(tmp_path / "work/in/a.png")
    follow_class_order("images:in", ["ant", "owl"])
    assert MetadataCatalog.get("images:in").thing_classes == ["ant", "owl"]
    assert len(DatasetCatalog.get("images:in")) == 1


def test_selecting_classes_drops_objects_and_keeps_images():
    records = [{"annotations": [{"category_id": 0}, {"category_id": 2}]}, {"file_name": "a"}]
    found = select_classes(records, ["a", "b", "c"], ["c", "b"])
    assert found == [{"annotations": [{"category_id": 0}]}, {"file_name": "a"}]
    assert records[0]["annotations"][1] == {"category_id": 2}
    assert select_classes(records, ["a"], ["a"]) is records
