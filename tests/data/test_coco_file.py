"""COCO files as different tools write them: all are read the same, by all who read them."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.checking import check_dataset, cleaned_coco
from d2lite.data.datasets.coco_annotations import normalise_annotation
from d2lite.data.datasets.coco_file import coco_categories, read_coco_json
from d2lite.data.records.faults import collecting_faults
from d2lite.data.records.object_checks import drop_invalid
from d2lite.utils.errors import DataError
from tests.data.spec_files import detections

SQUARE = [2.0, 2.0, 8.0, 2.0, 8.0, 8.0, 2.0, 8.0]
PAIRS = [[2, 2], [8, 2], [8, 8], [2, 8]]


@pytest.fixture
def write(tmp_path):
    """Write a file of one image and one object, changed by a function, and give its string."""

    def to_file(edit=lambda content: None, name="a", encoding="utf-8"):
        image = {"id": 1, "file_name": "a.png", "width": 20, "height": 10}
        obj = {"id": 1, "image_id": 1, "category_id": 3, "bbox": [2, 2, 6, 6], "area": 36,
               "iscrowd": 0, "segmentation": [SQUARE]}  # fmt: skip
        content = {"images": [image], "annotations": [obj],
                   "categories": [{"id": 3, "name": "ant"}]}  # fmt: skip
        edit(content)
        path = tmp_path / f"{name}.json"
        path.write_bytes(json.dumps(content, ensure_ascii=False).encode(encoding))
        Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
        return f"coco:{path}@{tmp_path}"

    return to_file


def changed(**values):
    return lambda content: content["annotations"][0].update(values)


def of_image(**values):
    return lambda content: content["images"][0].update(values)


def removed(*keys):
    return lambda content: [content["images"][0].pop(key) for key in keys]


def average_precision(name):
    from d2lite.evaluation import COCOEvaluator

    evaluator = COCOEvaluator(name)
    for record in DatasetCatalog.get(name):
        evaluator.process(*detections(record["image_id"], [0]))
    return evaluator.evaluate()["bbox"]["AP"]


@pytest.mark.parametrize("edit", [
    changed(iscrowd=None), changed(iscrowd="0"), changed(iscrowd=False),
    changed(area=None), changed(area="36"), changed(area="wide"),
    changed(bbox=["2", "2", "6.0", "6"]), changed(bbox=None), changed(bbox=[]),
    changed(image_id="1", category_id="3"), changed(image_id=1.0), changed(id=None),
    changed(segmentation=SQUARE), changed(segmentation=PAIRS), changed(segmentation=[PAIRS]),
    changed(segmentation=[{"x": x, "y": y} for x, y in PAIRS]),
    changed(segmentation=[[str(value) for value in SQUARE]]),
    changed(keypoints=None), changed(keypoints=[[3, 3, "2"]], num_keypoints=None),
    of_image(id="1"), of_image(width="20", height="10"), of_image(width=-1, height=-1),
    of_image(width=20.0), of_image(height=None), removed("width", "height"),
    of_image(date_captured=0, license="", coco_url=0, flickr_url=None),
    lambda content: content["categories"][0].update(id="3", supercategory=0, skeleton="none"),
    lambda content: content["categories"].append({"id": "x", "name": "bee"}),
])  # fmt: skip
def test_what_tools_write_differently_is_read_checked_and_scored_alike(write, edit):
    name = write(edit)
    checked = check_dataset(name)
    assert not checked.faults.has_faults, checked.faults.summary()
    (record,) = checked.records
    assert (record["image_id"], record["height"], record["width"]) == (1, 10, 20)
    (obj,) = record["annotations"]
    assert [float(value) for value in obj["bbox"]] == [2, 2, 6, 6]
    assert (obj["category_id"], obj.get("iscrowd", 0)) == (0, 0)
    assert [[float(value) for value in polygon] for polygon in obj["segmentation"]] == [SQUARE]
    assert average_precision(name) == pytest.approx(100)
    content, _ = cleaned_coco(checked)
    assert json.loads(json.dumps(content, allow_nan=False))["annotations"][0]["category_id"] == 3


@pytest.mark.parametrize("code", [
    {"size": [10, 20], "counts": [30, 20, 150]},
    {"size": ["10", "20"], "counts": ["30", "20", "150"]},
    [{"size": [10, 20], "counts": [30, 20, 150]}],
    {"size": [10, 20], "counts": "n0d0f4"},
])  # fmt: skip
def test_run_length_codes_of_either_form_are_one(write, code):
    (record,) = check_dataset(write(changed(segmentation=code))).records
    counts = record["annotations"][0]["segmentation"]["counts"]
    assert (counts.encode() if isinstance(counts, str) else counts) == b"n0d0f4"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_files_of_other_encodings_are_read(write, encoding):
    name = write(lambda c: c["categories"][0].update(name="Käfer"), encoding=encoding)
    assert MetadataCatalog.get(name).thing_classes == ["Käfer"]
    assert average_precision(name) == pytest.approx(100)


@pytest.mark.parametrize(("edit", "kind"), [
    (lambda c: c["images"].append({"file_name": "b.png"}), "incomplete_image"),
    (lambda c: c["images"].append({"id": 2, "file_name": 7}), "incomplete_image"),
    (lambda c: c["images"].append({"id": 2, "file_name": "gone.png"}), "incomplete_image"),
    (lambda c: c["images"].append(None), "incomplete_image"),
    (lambda c: c["annotations"].append("x"), "malformed"),
    (lambda c: c["annotations"].append({"image_id": 1, "category_id": 3}), "malformed"),
    (lambda c: c["annotations"].append({"image_id": [1]}), "unknown_image"),
    (lambda c: c["annotations"].append({**c["annotations"][0], "category_id": None}),
     "unknown_category"),
    (lambda c: c["annotations"].append({**c["annotations"][0], "id": 2, "iscrowd": "maybe"}),
     "malformed"),
    (lambda c: c["annotations"].append({**c["annotations"][0], "id": 2, "keypoints": [1, 2]}),
     "malformed"),
    (lambda c: c["annotations"].append({**c["annotations"][0], "id": 2, "segmentation": 5}),
     "bad_mask"),
])  # fmt: skip
def test_what_cannot_be_understood_is_counted_and_the_rest_is_scored(write, edit, kind):
    name = write(edit)
    checked = check_dataset(name)
    assert checked.faults.counts[kind] == 1, checked.faults.counts
    assert "a.json" in checked.faults.examples[kind][0]
    assert sum(len(record["annotations"]) for record in checked.records) == 1
    assert average_precision(name) == pytest.approx(100)


@pytest.mark.parametrize(("edit", "message"), [
    (lambda c: c.update(images=None), "has no list 'images'"),
    (lambda c: c["images"][0].update(annotations=c.pop("annotations")), "its objects in the entr"),
    (lambda c: c.update(annotations={}), "'annotations' is of type dict"),
    (lambda c: c["categories"][0].pop("name"), "entry 0 of 'categories'"),
    (lambda c: c.update(categories=["ant"]), "entry 0 of 'categories' is ant"),
    (lambda c: c["categories"][0].update(id=[]), "entry 0 of 'categories'"),
])  # fmt: skip
def test_a_file_that_cannot_be_used_as_a_whole_is_named(write, edit, message):
    checked = check_dataset(write(edit))
    assert message in checked.faults.examples["unusable"][0]


def test_a_folder_in_place_of_the_file_is_named(tmp_path):
    with pytest.raises(DataError, match="is not a file; name the JSON file"):
        read_coco_json(tmp_path)


def test_null_annotations_are_none(write):
    name = write(lambda c: c.update(annotations=None))
    assert DatasetCatalog.get(name)[0]["annotations"] == []


def test_categories_of_numbers_and_texts_are_in_one_order():
    entries = [{"id": "b", "name": "x"}, {"id": "2", "name": "y"}, {"id": 1, "name": 5}]
    assert coco_categories({"categories": entries}, "f") == {1: "5", 2: "y", "b": "x"}


def test_a_usual_annotation_is_left_as_it_is():
    """Files have a million of them."""
    annotation = {"id": 1, "image_id": 1, "category_id": 3, "bbox": [2, 2, 6, 6], "area": 36.5,
                  "iscrowd": 0, "segmentation": [SQUARE], "keypoints": [1, 2, 2]}  # fmt: skip
    parts = dict(annotation)
    assert normalise_annotation(annotation) is None
    assert all(annotation[key] is value for key, value in parts.items())


@pytest.mark.parametrize("far", [
    [2, 2, 1e8, 2, 1e8, 8], [-1e9, -1e9, 1e9, -1e9, 1e9, 1e9], [2, 2, 1e300, 2, 8, 8],
    [2, 2, float("nan"), 2, 8, 8], [2, 2, float("inf"), 2, 8, 8], [0, 0, 9e5, 9] * 2,
    np.stack([np.arange(1e5) % 2 * 2e3, np.arange(1e5)], 1).ravel().tolist(),
])  # fmt: skip
def test_a_polygon_that_no_memory_holds_is_counted(write, far):
    name = write(changed(segmentation=[far, SQUARE]))
    with collecting_faults() as faults:
        (record,) = drop_invalid(DatasetCatalog.get(name), faults)
    assert faults.counts["far_polygon"] == 1
    assert record["annotations"][0]["segmentation"] == [SQUARE]
    assert average_precision(name) == pytest.approx(100)


_DIGITS = int("1" + "0" * 400)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"bbox": [2, 2, _DIGITS, 6]}, "malformed"),
        ({"bbox": [2.0, 2, _DIGITS, 6]}, "malformed"),
        ({"iscrowd": math.inf}, "malformed"),
        ({"iscrowd": -math.inf}, "malformed"),
        ({"segmentation": [[2, 2, 8, 2, 8, _DIGITS]]}, "bad_mask"),
        ({"area": _DIGITS}, None),
        ({"area": math.inf}, None),
    ],
)
def test_numbers_that_no_array_holds_are_faults_or_left_out(change, kind):
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 2, 6, 6], **change}
    fault = normalise_annotation(annotation)
    assert (fault and fault[0]) == kind
    assert "area" not in annotation
