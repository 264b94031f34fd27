import math

import numpy as np
import pytest
import torch

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.datasets import register_pascal_voc
from d2lite.evaluation import PascalVOCDetectionEvaluator
from d2lite.evaluation.pascal_voc_evaluation import parse_rec, voc_ap, voc_eval
from d2lite.structures import Boxes, Instances
from d2lite.utils.errors import ConfigError, DataError, MissingFileError

OBJECT = (
    "<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin>"
    "<xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)
# image: [(class, difficult, xmin, ymin, xmax, ymax)]
TRUTH = {
    "one": [("cat", 0, 11, 11, 50, 50), ("dog", 0, 61, 11, 90, 50)],
    "two": [("cat", 0, 1, 1, 40, 40), ("cat", 1, 50, 50, 90, 90)],
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("one\ntwo\n")
    for image, objects in TRUTH.items():
        text = "".join(OBJECT.format(*o) for o in objects)
        size = "<size><width>100</width><height>100</height><depth>3</depth></size>"
        (tmp_path / "Annotations" / f"{image}.xml").write_text(
            f"<annotation>{size}{text}</annotation>"
        )
    return tmp_path


@pytest.fixture(params=[2007, 2012])
def dataset(request, folder):
    name = f"voc_toy_{request.param}"
    register_pascal_voc(name, str(folder), "val", request.param, ["cat", "dog", "eel"])
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def _predictions(rows):
    """Rows of (image, class, score, xyxy in continuous coordinates)."""
    outputs = {}
    for image in TRUTH:
        mine = [r for r in rows if r[0] == image]
        made = Instances((100, 100))
        made.pred_boxes = Boxes(torch.tensor([r[3] for r in mine]).float().reshape(-1, 4))
        made.scores = torch.tensor([r[2] for r in mine]).float()
        made.pred_classes = torch.tensor([r[1] for r in mine], dtype=torch.int64)
        outputs[image] = made
    return outputs


def _evaluate(name, rows):
    evaluator = PascalVOCDetectionEvaluator(name)
    for image, instances in _predictions(rows).items():
        evaluator.process([{"image_id": image}], [{"instances": instances}])
    return evaluator.evaluate()["bbox"]


PERFECT = [
    ("one", 0, 0.9, [10, 10, 50, 50]),
    ("one", 1, 0.8, [60, 10, 90, 50]),
    ("two", 0, 0.7, [0, 0, 40, 40]),
]


def test_perfect_boxes_score_100_and_unseen_classes_count_not(dataset):
    results = _evaluate(dataset, PERFECT)
    assert results["AP"] == pytest.approx(100)
    assert results["AP50"] == results["AP75"] == pytest.approx(100)
    assert math.isnan(results["AP-eel"])


def test_difficult_object_neither_helps_nor_hurts(dataset):
    found_it_too = [*PERFECT, ("two", 0, 0.95, [49, 49, 90, 90])]
    assert _evaluate(dataset, found_it_too)["AP-cat"] == pytest.approx(100)


def test_second_detection_of_an_object_is_wrong(dataset):
    """Source, area: precision 1 up to recall 1/2, then 2/3. 11 points: 6 at 1 and 5 at 2/3."""
    twice = [*PERFECT, ("one", 0, 0.85, [10, 10, 50, 50])]
    expected = 100 * ((6 + 5 * 2 / 3) / 11 if "2007" in dataset else (1 + 2 / 3) / 2)
    assert _evaluate(dataset, twice)["AP-cat"] == pytest.approx(expected)


def test_image_predicted_twice_alike_counts_once_and_missing_images_are_told(dataset, caplog):
    evaluator = PascalVOCDetectionEvaluator(dataset)
    found = _predictions(PERFECT)["one"]
    for _ in range(2):
        evaluator.process([{"image_id": "one"}], [{"instances": found}])
    assert evaluator.evaluate()["bbox"]["AP-dog"] == pytest.approx(100)
    assert "1 images were predicted more than once, for instance 'one'" in caplog.text
    assert "1 of the 2 images were not predicted, for instance 'two'" in caplog.text


def test_no_prediction_gives_ap_0_and_says_why(dataset, caplog):
    results = _evaluate(dataset, [])
    assert results["AP"] == 0
    assert "predicted nothing on 2 images" in caplog.text


def test_no_image_at_all_gives_ap_0_and_says_why(dataset, caplog):
    assert PascalVOCDetectionEvaluator(dataset).evaluate()["bbox"]["AP"] == 0
    assert "no image was processed" in caplog.text


def test_class_out_of_range_is_left_out_and_told(dataset, caplog):
    results = _evaluate(dataset, [*PERFECT, ("one", 7, 0.99, [10, 10, 50, 50])])
    assert results["AP"] == pytest.approx(100)
    assert "1 predictions have a class number above the dataset's 3 classes" in caplog.text


@pytest.mark.parametrize(("is_07", "expected"), [(True, 0.6), (False, 0.585)])
def test_area_under_a_curve_with_steps(is_07, expected):
    """Source: shared/reference/pieces.npz, out/voc_ap/curve_*, measured on detectron2 0.6."""
    recall = np.array([0.1, 0.1, 0.4, 0.6, 0.6, 0.9])
    precision = np.array([1.0, 0.5, 0.66, 0.7, 0.5, 0.45])
    assert voc_ap(recall, precision, use_07_metric=is_07) == pytest.approx(expected)


@pytest.mark.parametrize("is_07", [True, False])
def test_area_of_an_empty_curve_is_0(is_07):
    assert voc_ap(np.zeros(0), np.zeros(0), is_07) == 0


def test_results_files_give_the_same_numbers_as_the_evaluator(folder):
    lines = ["one 0.9 11.0 11.0 50.0 50.0", "one 0.85 11 11 50 50", "two 0.7 1.0 1.0 40.0 40.0"]
    (folder / "cat.txt").write_text("\n".join(lines))
    recall, precision, ap = voc_eval(
        str(folder / "{}.txt"),
        str(folder / "Annotations" / "{}.xml"),
        str(folder / "ImageSets" / "Main" / "val.txt"),
        "cat",
    )
    np.testing.assert_allclose(recall, [0.5, 0.5, 1.0])
    np.testing.assert_allclose(precision, [1.0, 0.5, 2 / 3])
    assert ap == pytest.approx((1 + 2 / 3) / 2)


def test_annotation_without_pose_and_with_decimals_is_read(tmp_path):
    text = OBJECT.format("cat", 1, "1.0", 2, "30.0", 40)
    (tmp_path / "a.xml").write_text(f"<annotation>{text}</annotation>")
    (found,) = parse_rec(tmp_path / "a.xml")
    assert found == {
        "name": "cat",
        "pose": "Unspecified",
        "truncated": 0,
        "difficult": 1,
        "bbox": [1, 2, 30, 40],
    }


@pytest.mark.parametrize("corners", [(30, 2, 5, 40), (1, 40, 30, 2), (1, 2, "nan", 40)])
def test_boxes_that_are_none_are_left_out_and_told(tmp_path, caplog, corners):
    good, bad = OBJECT.format("cat", 0, 7, 8, 7, 9), OBJECT.format("cat", 0, *corners)
    (tmp_path / "a.xml").write_text(f"<annotation>{bad}{good}</annotation>")
    assert [found["bbox"] for found in parse_rec(tmp_path / "a.xml")] == [[7, 8, 7, 9]]
    assert "1 x box of zero, negative or non-finite size" in caplog.text


def test_broken_annotation_names_its_file(tmp_path):
    (tmp_path / "a.xml").write_text("<annotation><object>")
    with pytest.raises(DataError, match=r"a\.xml is not valid XML"):
        parse_rec(tmp_path / "a.xml")
    (tmp_path / "b.xml").write_text("<annotation><object><name>x</name></object></annotation>")
    with pytest.raises(DataError, match=r"b\.xml: the box of object 'x' is incomplete"):
        parse_rec(tmp_path / "b.xml")
    with pytest.raises(MissingFileError, match=r"c\.xml"):
        parse_rec(tmp_path / "c.xml")


def test_dataset_of_another_layout_is_refused():
    MetadataCatalog.get("no_voc").set(thing_classes=["cat"])
    try:
        with pytest.raises(ConfigError, match="no dirname, split, year"):
            PascalVOCDetectionEvaluator("no_voc")
    finally:
        MetadataCatalog.remove("no_voc")


def test_predictions_are_lines_of_result_files_as_clients_read_them(dataset):
    evaluator = PascalVOCDetectionEvaluator(dataset)
    found = Instances((100, 100), pred_boxes=Boxes(torch.tensor([[10.0, 10, 50, 50.04]])))
    found.scores, found.pred_classes = torch.tensor([0.91239]), torch.tensor([1])
    evaluator.process([{"image_id": "one"}], [{"instances": found}])
    assert dict(evaluator._predictions) == {1: ["one 0.912 11.0 11.0 50.0 50.0"]}
    assert evaluator._anno_file_template.format("one").endswith("one.xml")
    assert evaluator._is_2007 == dataset.endswith("2007")
