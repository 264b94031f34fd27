"""What comes to the scorer of odd ids, odd predictions and crowded images."""

import json
import logging

import pytest
import torch
from pycocotools.cocoeval import COCOeval

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.evaluation import COCOEvaluator, build_evaluator
from d2lite.evaluation.coco_scoring import CocoScores, score_coco
from d2lite.evaluation.fast_eval_api import COCOeval_opt
from d2lite.structures import Boxes, BoxMode, Instances

BOX = [2, 2, 6, 6]


def warnings(caplog) -> str:
    """The warnings alone: other tests may have switched the rest on."""
    return "\n".join(r.getMessage() for r in caplog.records if r.levelname == "WARNING")


@pytest.mark.parametrize("evaluation_type", [COCOeval_opt, COCOeval])
@pytest.mark.parametrize("ids", [["a", "b"], [1, "b"], [-5, 3], [2**60, 2**70], [0, 1]])
def test_ids_of_images_and_categories_may_be_any(evaluation_type, ids):
    """Engines sort ids, and one of them holds whole numbers from 0 only."""
    truth = {
        "images": [{"id": i, "height": 10, "width": 20} for i in ids],
        "categories": [{"id": i, "name": str(i)} for i in ids],
        "annotations": [{"image_id": i, "category_id": i, "bbox": BOX} for i in ids],
    }
    found = [{"image_id": i, "category_id": i, "bbox": BOX, "score": 0.9} for i in ids[:1]]
    options = {"evaluation_type": evaluation_type}
    scores = CocoScores.of(score_coco(truth, found, "bbox", **options))
    assert set(scores.category_ids) == set(ids)
    assert scores.average_precision(category_ids=ids[:1]) == pytest.approx(100)
    assert scores.average_precision(category_ids=ids[1:]) == 0
    only = score_coco(truth, found, "bbox", img_ids=ids[:1], **options)
    assert only.params.imgIds == ids[:1]
    assert CocoScores.of(only).average_precision() == pytest.approx(100)


def test_fields_that_nobody_scores_do_not_reach_an_engine():
    truth = {
        "images": [{"id": 1, "height": 10, "width": 20, "license": "", "date_captured": 0}],
        "categories": [{"id": 1, "name": "ant", "skeleton": "none", "keypoints": None}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": BOX, "attributes": [], "id": {}}],
    }
    found = [{"image_id": 1, "category_id": 1, "bbox": BOX, "score": 0.9}]
    assert CocoScores.of(score_coco(truth, found, "bbox")).average_precision() == pytest.approx(100)


@pytest.fixture
def register():
    """Register a set of one image with so many objects of one class."""

    def with_objects(count):
        boxes = [[10 * (i % 15), 10 * (i // 15), 8, 8] for i in range(count)]
        objects = [{"bbox": b, "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0} for b in boxes]
        record = {"file_name": "a", "image_id": 1, "height": 200, "width": 200}
        DatasetCatalog.register("crowded", lambda: [{**record, "annotations": objects}])
        MetadataCatalog.get("crowded").set(thing_classes=["ant"], evaluator_type="coco")
        corners = torch.tensor(boxes, dtype=torch.float32)
        corners[:, 2:] += corners[:, :2]
        return corners

    yield with_objects
    DatasetCatalog.pop("crowded", None)
    MetadataCatalog.pop("crowded", None)


def score(evaluator, corners, scores=None):
    found = Instances((200, 200))
    found.pred_boxes, found.pred_classes = Boxes(corners), torch.zeros(len(corners)).long()
    found.scores = torch.linspace(0.9, 0.5, len(corners)) if scores is None else scores
    evaluator.process([{"image_id": 1}], [{"instances": found}])
    return evaluator.evaluate()["bbox"]["AP"]


@pytest.mark.parametrize(("options", "all_count", "text"), [
    ({"detections_per_image": 300}, True, "so the best 300 detections count"),
    ({"detections_per_image": 100}, False, "Raise TEST.DETECTIONS_PER_IMAGE"),
    ({}, False, "only the best 100 detections count"),
    ({"max_dets_per_image": 200}, True, None),
])  # fmt: skip
def test_images_of_more_than_100_objects_follow_the_models_limit(
    register, caplog, options, all_count, text
):
    corners = register(150)
    precision = score(build_evaluator("crowded", **options), corners)
    assert (precision == pytest.approx(100)) is all_count
    said = warnings(caplog)
    assert "an image with 150 objects of one class" in said if text else not said
    assert text is None or text in said


def test_other_images_keep_the_limit_of_the_published_metric(register, caplog):
    corners = register(80)
    evaluator = COCOEvaluator("crowded", detections_per_image=300)
    assert score(evaluator, corners) == pytest.approx(100)
    assert evaluator._max_dets_per_image == [1, 10, 100]
    assert not warnings(caplog)


def test_predictions_that_are_not_finite_are_left_out_and_counted(register, caplog, tmp_path):
    corners = register(2)
    bad = torch.tensor([[0, 0, float("nan"), 8], [0, 0, float("inf"), 8], [0, 0, 8, 8]])
    scores = torch.tensor([0.9, 0.9, 0.99, 0.99, float("nan")])
    evaluator = COCOEvaluator("crowded", output_dir=tmp_path)
    with caplog.at_level(logging.WARNING):
        precision = score(evaluator, torch.cat([corners, bad]), scores)
    assert precision == pytest.approx(100)
    assert "3 predictions have numbers that are not finite" in caplog.text
    saved = json.loads((tmp_path / "coco_instances_results.json").read_text())
    assert len(saved) == 2


@pytest.mark.parametrize("counts", ["", "P", "00000o", "\x00", [1], [-5]])
def test_broken_masks_of_predictions_are_left_out(counts):
    square = [[2, 2, 8, 2, 8, 8, 2, 8]]
    truth = {
        "images": [{"id": 1, "height": 10, "width": 20}],
        "categories": [{"id": 1, "name": "ant"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": BOX, "segmentation": square}],
    }
    mask = {"size": [10, 20], "counts": counts}
    found = [{"image_id": 1, "category_id": 1, "score": 0.9, "segmentation": mask}]
    assert CocoScores.of(score_coco(truth, found, "segm")).average_precision() == 0
