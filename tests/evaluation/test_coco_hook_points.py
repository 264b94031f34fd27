"""What subclasses of COCOEvaluator and LVISEvaluator override or assign is called and used."""

import json
import logging
import uuid

import pytest
import torch
from pycocotools.coco import COCO

from d2lite.config import get_cfg
from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.datasets import register_lvis_instances
from d2lite.evaluation import COCOEvaluator, LVISEvaluator, RotatedCOCOEvaluator
from d2lite.evaluation.coco_ground_truth import coco_ground_truth

from .conftest import RECORDS, feed, instances_of
from .test_lvis_evaluation import lvis_content

PERFECT = {image_id: instances_of(objects) for image_id, objects in RECORDS}
KINDS = [COCOEvaluator, LVISEvaluator]


@pytest.fixture(params=KINDS)
def make(request, dataset, tmp_path):
    """A function that makes an evaluator of a subclass with the given members."""
    name = dataset
    if request.param is LVISEvaluator:
        pytest.importorskip("hotcoco")
        name = f"lvis_{uuid.uuid4().hex}"
        content = lvis_content()
        for image in content["images"]:
            image["id"] += 6  # as in PERFECT
        for annotation in content["annotations"]:
            annotation["image_id"] += 6
        (tmp_path / "lvis.json").write_text(json.dumps(content))
        register_lvis_instances(name, {}, tmp_path / "lvis.json", tmp_path)

    def made(tasks=None, **members):
        return type("Mine", (request.param,), members)(name, tasks, output_dir=tmp_path / "out")

    yield made
    if name != dataset:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_results_are_what_eval_predictions_stores(make):
    def _eval_predictions(self, predictions, img_ids=None):
        self._results["mine"] = {"images": len(predictions)}

    assert feed(make(_eval_predictions=_eval_predictions), PERFECT) == {"mine": {"images": 3}}


def test_eval_predictions_may_have_one_argument(make):
    def _eval_predictions(self, predictions):
        self._results["mine"] = {}

    assert feed(make(_eval_predictions=_eval_predictions), PERFECT) == {"mine": {}}


def test_eval_predictions_gets_the_images_to_evaluate(dataset):
    class Mine(COCOEvaluator):
        def _eval_predictions(self, predictions, img_ids=None):
            self._results["mine"] = img_ids

    assert Mine(dataset).evaluate(img_ids=[7, 8]) == {"mine": [7, 8]}


def test_tasks_from_predictions_chooses_the_tasks(make):
    def _tasks_from_predictions(self, predictions):
        assert {"image_id", "category_id", "score"} <= predictions[0].keys()
        return ["segm"]

    evaluator = make(_tasks_from_predictions=_tasks_from_predictions)
    assert list(feed(evaluator, PERFECT)) == ["segm"]


def test_derive_coco_results_gives_the_metrics_of_a_task(make):
    seen = []

    def _derive_coco_results(self, coco_eval, iou_type, class_names=None):
        shape = coco_eval.eval["precision"].shape
        seen.append((iou_type, shape[:2], shape[2] == len(coco_eval.params.catIds)))
        return {"AP": 1.0, "names": list(class_names)}

    results = feed(make(_derive_coco_results=_derive_coco_results), PERFECT)
    assert results["bbox"]["AP"] == 1.0
    assert len(results["bbox"]["names"]) == 3
    assert seen == [("bbox", (10, 101), True)]


def test_derive_coco_results_gets_the_stats_of_pycocotools(dataset):
    class Mine(COCOEvaluator):
        def _derive_coco_results(self, coco_eval, iou_type, class_names=None):
            return {"AP": coco_eval.stats[0], "AR@100": coco_eval.stats[8]}

    assert feed(Mine(dataset), PERFECT)["bbox"] == pytest.approx({"AP": 1, "AR@100": 1})


def test_derive_coco_results_without_an_evaluation_is_nan(make):
    """Code written for detectron2 calls it so where there is no prediction."""
    metrics = make()._derive_coco_results(None, "bbox", class_names=["a"])
    assert list(metrics)[:3] == ["AP", "AP50", "AP75"]
    assert all(value != value for value in metrics.values())


def test_predictions_may_be_filled_by_ones_own_process(make):
    def process(self, inputs, outputs):
        entry = {"image_id": 7, "category_id": 0, "bbox": [10, 10, 40, 40], "score": 0.5}
        self._predictions.append({"image_id": 7, "instances": [entry]})

    results = feed(make(process=process), {7: PERFECT[7]})
    assert list(results) == ["bbox"]
    assert results["bbox"]["AP50"] > 0


def test_logger_of_the_evaluator_is_used(make, caplog):
    mine = logging.getLogger("mine")
    with caplog.at_level(logging.INFO):
        feed(make(_logger=mine), PERFECT)
    messages = [record.message for record in caplog.records if record.name == "mine"]
    assert any(message.startswith("bbox:\n") for message in messages)


def test_cpu_device_is_where_predictions_go(make):
    evaluator = make(_cpu_device=torch.device("meta"))
    seen = []
    evaluator.instances_to_json = lambda instances, _: seen.append(instances.scores.device) or []
    evaluator.process([{"image_id": 7}], [{"instances": PERFECT[7]}])
    assert seen == [torch.device("meta")]


def test_do_evaluation_switches_scoring_off(make):
    assert feed(make(_do_evaluation=False), PERFECT) == {}
    evaluator = make()
    evaluator._do_evaluation = False
    assert feed(evaluator, PERFECT) == {}
    assert make()._do_evaluation


def test_coco_api_has_the_ground_truth_and_may_be_replaced(dataset):
    evaluator = COCOEvaluator(dataset)
    assert evaluator._coco_api.getCatIds(catNms=["dog"]) == [1]
    assert feed(evaluator, PERFECT)["bbox"]["AP-dog"] == pytest.approx(100)
    other = COCO()
    other.dataset = coco_ground_truth(dataset, None)
    other.dataset["annotations"] = other.dataset["annotations"][:1]  # the cat alone
    other.createIndex()
    evaluator._coco_api = other
    results = feed(evaluator, PERFECT)["bbox"]
    assert results["AP-cat"] == pytest.approx(100)
    assert results["AP-dog"] != results["AP-dog"]  # nan: there is no dog any more


def test_lvis_has_its_ground_truth_in_coco_api_too(make):
    evaluator = make()
    assert len(evaluator._coco_api.cats) == 3
    evaluator._coco_api.dataset["annotations"] = []
    results = feed(evaluator, PERFECT)["bbox"]
    assert results["AP"] != results["AP"]


def test_max_dets_per_image_limits_detections(make):
    evaluator = make()
    wrong_first = [((90, 90, 99, 99), 0), ((10, 10, 50, 50), 0)]
    outputs = {7: instances_of(wrong_first, scores=[0.9, 0.8])}
    evaluator._max_dets_per_image = [1, 10, 100]
    assert feed(evaluator, outputs)["bbox"]["AP50"] > 0
    evaluator._max_dets_per_image = [1]
    assert feed(evaluator, outputs)["bbox"]["AP50"] == 0


def test_a_config_in_the_place_of_tasks_means_the_tasks_of_the_predictions(make, caplog):
    evaluator = make(get_cfg())
    assert "tasks is a config" in caplog.text
    assert list(feed(evaluator, PERFECT)) == ["bbox"]


def test_a_config_in_the_place_of_tasks_gives_the_sigmas(dataset):
    cfg = get_cfg()
    cfg.TEST.KEYPOINT_OKS_SIGMAS = [0.1, 0.2]
    assert COCOEvaluator(dataset, cfg)._kpt_oks_sigmas == (0.1, 0.2)
    assert RotatedCOCOEvaluator(dataset, cfg)._tasks is None
