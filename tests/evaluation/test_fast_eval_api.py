import numpy as np
import pytest
from pycocotools.cocoeval import COCOeval

from d2lite.evaluation import fast_eval_api
from d2lite.evaluation.coco_evaluation import COCOevalMaxDets, _evaluate_predictions_on_coco
from d2lite.evaluation.coco_ground_truth import complete_ground_truth, index_coco
from d2lite.evaluation.fast_eval_api import COCOeval_opt, fast_engine

from .test_coco_evaluation import _random_case

TASKS = ["bbox", "segm", "keypoints"]


def _evaluations(task, **params):
    """Our evaluation and pycocotools', with the same parameters."""
    dataset, results = _random_case(task)
    gt = index_coco(complete_ground_truth(dataset, task))
    for kind in (COCOeval_opt, COCOeval):
        evaluation = kind(gt, gt.loadRes(results), task)
        for name, value in params.items():
            setattr(evaluation.params, name, value)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        yield evaluation


@pytest.mark.parametrize(
    ("task", "params"),
    [
        *((task, {}) for task in TASKS),
        *((task, {"imgIds": [1, 2, 5], "catIds": [3]}) for task in TASKS),
        ("bbox", {"useCats": 0, "iouThrs": np.array([0.5, 0.75])}),
        (
            "segm",
            {"maxDets": [1, 2, 100], "areaRng": [[0, 1e10], [0, 400], [400, 4000], [4000, 1e10]]},
        ),
        ("keypoints", {"kpt_oks_sigmas": np.full(17, 0.02)}),
    ],
)
def test_arrays_and_summary_are_those_of_pycocotools(task, params):
    ours, theirs = _evaluations(task, **params)
    for name in ("precision", "recall", "scores"):
        np.testing.assert_array_equal(ours.eval[name], theirs.eval[name])
    np.testing.assert_array_equal(ours.stats, theirs.stats)
    if fast_engine() is not None:
        assert ours.evalImgs != theirs.evalImgs  # so the fast engine did compute ours


@pytest.mark.parametrize("task", TASKS)
def test_without_the_fast_engine_pycocotools_computes(task, monkeypatch):
    monkeypatch.setattr(fast_eval_api, "fast_engine", lambda: None)
    ours, theirs = _evaluations(task)
    np.testing.assert_array_equal(ours.eval["precision"], theirs.eval["precision"])
    assert len(ours.evalImgs) == len(theirs.evalImgs)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cocoeval_fn": COCOeval},
        {"cocoeval_fn": True},
        {"cocoeval_fn": False},
        {"use_fast_impl": False},
        {"img_ids": [0, 1, 2], "max_dets_per_image": [1, 2, 3]},
    ],
)
def test_predictions_are_evaluated_under_the_name_of_detectron2(options):
    dataset, results = _random_case("bbox")
    gt = index_coco(complete_ground_truth(dataset, "bbox"))
    evaluation = _evaluate_predictions_on_coco(gt, results, "bbox", **options)
    assert isinstance(evaluation, COCOeval)
    is_plain = not options.get("use_fast_impl", True) or options.get("cocoeval_fn") in (
        False,
        COCOeval,
    )
    assert isinstance(evaluation, COCOeval_opt) is not is_plain
    reference = COCOeval(gt, gt.loadRes(results), "bbox")
    reference.params.imgIds = options.get("img_ids", reference.params.imgIds)
    reference.params.maxDets = options.get("max_dets_per_image", reference.params.maxDets)
    reference.evaluate()
    reference.accumulate()
    np.testing.assert_array_equal(evaluation.eval["precision"], reference.eval["precision"])
    assert evaluation.stats[0] == pytest.approx(reference.eval["precision"][..., 0, -1].mean())


def test_a_summary_reads_ap_at_its_own_last_limit():
    dataset, results = _random_case("bbox")
    gt = index_coco(complete_ground_truth(dataset, "bbox"))
    found = {}
    for kind in (COCOevalMaxDets, COCOeval):
        evaluation = kind(gt, gt.loadRes(results), "bbox")
        evaluation.params.maxDets = [1, 10, 100 if kind is COCOeval else 300]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        found[kind] = evaluation.stats
    np.testing.assert_allclose(found[COCOevalMaxDets], found[COCOeval])
