import io
import json
import uuid

import numpy as np
import pytest
import torch
from PIL import Image

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.datasets.coco_panoptic import rgb_to_segment_ids, segment_ids_to_rgb
from d2lite.data.images.image_io import read_image
from d2lite.evaluation import COCOPanopticEvaluator
from d2lite.evaluation.panoptic_evaluation import _print_panoptic_results
from d2lite.utils.errors import ConfigError, DataError, MissingFileError

CATEGORIES = [
    {"id": 3, "name": "cat", "isthing": 1},
    {"id": 4, "name": "dog", "isthing": 1},
    {"id": 70, "name": "sky", "isthing": 0},
]
# Segments of the two true maps: a cat on the sky, and the sky alone.
TRUTH = [np.full((8, 10), 700), np.full((8, 10), 700)]
TRUTH[0][2:6, 2:8] = 300


@pytest.fixture
def dataset(tmp_path):
    """Name of a panoptic set of two images in COCO's form."""
    annotations = []
    for number, ids in enumerate(TRUTH):
        Image.fromarray(segment_ids_to_rgb(ids)).save(tmp_path / f"{number}.png")
        info = [
            {"id": int(i), "category_id": {300: 3, 700: 70}[int(i)], "iscrowd": 0}
            for i in np.unique(ids)
        ]
        annotations.append(
            {"image_id": number, "file_name": f"{number}.png", "segments_info": info}
        )
    content = {"images": [], "annotations": annotations, "categories": CATEGORIES}
    (tmp_path / "truth.json").write_text(json.dumps(content))
    name = f"panoptic_{uuid.uuid4().hex}"
    MetadataCatalog.get(name).set(
        panoptic_json=str(tmp_path / "truth.json"),
        panoptic_root=str(tmp_path),
        thing_dataset_id_to_contiguous_id={3: 0, 4: 1},
        stuff_dataset_id_to_contiguous_id={70: 1},
        label_divisor=1000,
    )
    yield name
    MetadataCatalog.remove(name)


def predict(evaluator, number: int, ids: np.ndarray, info: list[dict] | None) -> None:
    image = {"image_id": number, "file_name": f"somewhere/{number}.jpg"}
    evaluator.process([image], [{"panoptic_seg": (torch.as_tensor(ids), info)}])


def perfect(number: int) -> tuple[np.ndarray, list[dict]]:
    ids = np.where(TRUTH[number] == 300, 1, 2)
    info = [{"id": 2, "category_id": 1, "isthing": False}]
    if number == 0:
        info.append({"id": 1, "category_id": 0, "isthing": True})
    return ids, info


def test_perfect_maps_score_100_and_are_written_as_coco_wants_them(dataset, tmp_path):
    evaluator = COCOPanopticEvaluator(dataset, str(tmp_path / "out"))
    for number in range(2):
        predict(evaluator, number, *perfect(number))
    metrics = evaluator.evaluate()["panoptic_seg"]
    assert list(metrics) == ["PQ", "SQ", "RQ", "PQ_th", "SQ_th", "RQ_th", "PQ_st", "SQ_st", "RQ_st"]
    assert set(metrics.values()) == {100.0}
    written = json.loads((tmp_path / "out/predictions.json").read_text())
    assert written["categories"] == CATEGORIES
    first = written["annotations"][0]
    assert first["file_name"] == "0.png"
    assert {(s["id"], s["category_id"]) for s in first["segments_info"]} == {(1, 3), (2, 70)}
    stored = np.asarray(Image.open(tmp_path / "out/panoptic/0.png"))
    np.testing.assert_array_equal(rgb_to_segment_ids(stored), perfect(0)[0])


def test_labels_that_hold_class_and_number_need_no_list(dataset):
    """Panoptic-DeepLab gives class * divisor + number, and -1 for void."""
    MetadataCatalog.get(dataset).replace(stuff_dataset_id_to_contiguous_id={70: 2})
    evaluator = COCOPanopticEvaluator(dataset)
    for number in range(2):
        labels = np.where(TRUTH[number] == 300, 0 * 1000 + 1, 2 * 1000)
        labels[0, 0] = -1
        predict(evaluator, number, labels, None)
    metrics = evaluator.evaluate()["panoptic_seg"]
    assert metrics["RQ"] == 100
    assert metrics["PQ_st"] == pytest.approx(100 * (55 + 79) / (56 + 80), rel=1e-2)


def test_images_without_prediction_count_as_missed(dataset, caplog):
    evaluator = COCOPanopticEvaluator(dataset)
    predict(evaluator, 1, *perfect(1))
    metrics = evaluator.evaluate()["panoptic_seg"]
    assert metrics["PQ_th"] == 0
    assert metrics["RQ_st"] == pytest.approx(100 / 1.5)
    assert "1 of the 2 images were not predicted" in caplog.text


def test_last_prediction_of_an_image_counts(dataset, caplog, tmp_path):
    """Samplers of others repeat images, so that all processes get as many."""
    evaluator = COCOPanopticEvaluator(dataset, output_dir=tmp_path / "out")
    predict(evaluator, 0, np.zeros((8, 10), int), [])
    for number in (0, 1, 1):
        predict(evaluator, number, *perfect(number))
    assert evaluator.evaluate()["panoptic_seg"]["PQ"] == 100
    assert "2 images were predicted more than once, for instance 0" in caplog.text
    saved = json.loads((tmp_path / "out/predictions.json").read_text())["annotations"]
    assert [row["image_id"] for row in saved] == [0, 1]


def test_a_reset_forgets(dataset):
    evaluator = COCOPanopticEvaluator(dataset)
    predict(evaluator, 1, np.zeros((8, 10), int), [])
    evaluator.reset()
    for number in range(2):
        predict(evaluator, number, *perfect(number))
    assert evaluator.evaluate()["panoptic_seg"]["PQ"] == 100


def test_a_class_out_of_range_names_image_and_classes(dataset):
    evaluator = COCOPanopticEvaluator(dataset)
    ids = np.ones((8, 10), int)
    with pytest.raises(DataError, match=r"thing of class 7.*classes 0 to 1"):
        predict(evaluator, 0, ids, [{"id": 1, "category_id": 7, "isthing": True}])


def test_a_map_of_another_size_names_the_image(dataset):
    evaluator = COCOPanopticEvaluator(dataset)
    with pytest.raises(DataError, match=r"Image 0 \(somewhere/0.jpg\).*\(2, 2\)"):
        predict(evaluator, 0, np.zeros((2, 2), int), [])


def test_a_foreign_image_is_refused(dataset):
    with pytest.raises(DataError, match=r"Image 9 .*is not in the panoptic truth"):
        predict(COCOPanopticEvaluator(dataset), 9, np.zeros((8, 10), int), [])


def test_a_model_without_panoptic_output_is_told(dataset):
    image = {"image_id": 0, "file_name": "0.jpg"}
    with pytest.raises(DataError, match=r"no 'panoptic_seg'.*instances"):
        COCOPanopticEvaluator(dataset).process([image], [{"instances": None}])


def test_a_missing_file_is_told_at_the_start(dataset):
    MetadataCatalog.get(dataset).replace(panoptic_json="nowhere/truth.json")
    with pytest.raises(MissingFileError, match=r"nowhere/truth\.json"):
        COCOPanopticEvaluator(dataset)


def test_a_set_without_panoptic_truth_is_refused():
    with pytest.raises(ConfigError, match="no panoptic truth"):
        COCOPanopticEvaluator("shapes_val")


def test_built_in_shapes_are_evaluated_without_files():
    evaluator = COCOPanopticEvaluator("shapes_val_panoptic")
    for record in DatasetCatalog.get("shapes_val_panoptic"):
        ids = rgb_to_segment_ids(read_image(record["pan_seg_file_name"]))
        info = [
            {key: segment[key] for key in ("id", "category_id", "isthing")}
            for segment in record["segments_info"]
        ]
        image = {"image_id": record["image_id"], "file_name": record["file_name"]}
        evaluator.process([image], [{"panoptic_seg": (torch.as_tensor(ids), info)}])
    assert set(evaluator.evaluate()["panoptic_seg"].values()) == {100.0}


def test_qualities_of_panopticapi_are_logged_in_percent(caplog):
    caplog.set_level("INFO")
    part = {"pq": 0.25, "sq": 0.5, "rq": 0.75, "n": 7}
    _print_panoptic_results({"All": part, "Things": part, "Stuff": {**part, "n": 3}})
    rows = [line.split() for line in caplog.text.splitlines() if "25.0" in line]
    assert [row[-2] for row in rows] == ["7", "7", "3"]


def test_pictures_that_a_subclass_keeps_are_scored(dataset):
    """As `process` of detectron2 keeps them, which people copy and change."""

    class Keeps(COCOPanopticEvaluator):
        def process(self, inputs, outputs):
            for image, output in zip(inputs, outputs, strict=True):
                ids, info = output["panoptic_seg"]
                stream = io.BytesIO()
                Image.fromarray(segment_ids_to_rgb(ids.numpy())).save(stream, format="PNG")
                self._predictions.append(
                    {
                        "image_id": image["image_id"],
                        "file_name": f"{image['image_id']}.png",
                        "png_string": stream.getvalue(),
                        "segments_info": [self._convert_category_id(segment) for segment in info],
                    }
                )

    evaluator = Keeps(dataset)
    assert evaluator._thing_contiguous_id_to_dataset_id == {0: 3, 1: 4}
    for number in range(2):
        predict(evaluator, number, *perfect(number))
    assert evaluator.evaluate()["panoptic_seg"]["PQ"] == 100
