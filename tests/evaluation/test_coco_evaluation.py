import json
import logging
import math

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from d2lite.data import DatasetCatalog, MetadataCatalog, load_proposals_into_dataset
from d2lite.evaluation import (
    COCOEvaluator,
    coco_ground_truth,
    coco_scoring,
    instances_to_coco_json,
)
from d2lite.evaluation.coco_evaluation import _evaluate_box_proposals
from d2lite.evaluation.coco_ground_truth import complete_ground_truth, index_coco
from d2lite.evaluation.coco_scoring import CocoScores, score_coco
from d2lite.evaluation.fast_eval_api import COCOeval_opt, fast_engine
from d2lite.structures import Boxes, BoxMode, Instances, RotatedBoxes
from d2lite.utils.errors import ConfigError, MissingFileError, UnknownNameError

from .conftest import HEIGHT, RECORDS, WIDTH, dataset_dicts, feed, instances_of

PERFECT = dict(RECORDS)


def _perfect(**options):
    return {i: instances_of(objects, **options) for i, objects in PERFECT.items()}


def test_perfect_predictions_score_100_on_a_dataset_without_a_coco_file(dataset):
    results = feed(COCOEvaluator(dataset), _perfect(has_masks=True))
    for task in ("bbox", "segm"):
        assert results[task]["AP"] == pytest.approx(100)
        assert results[task]["AP-cat"] == pytest.approx(100)
        # nothing in the data is an eel: neither right nor wrong can be said
        assert math.isnan(results[task]["AP-eel"])


def test_half_of_the_objects_gives_half_of_the_recall(dataset):
    """Source: of dogs one of two is found, at precision 1 up to recall 0.5: 51 of 101 levels."""
    outputs = _perfect()
    outputs[8] = instances_of([])
    results = feed(COCOEvaluator(dataset), outputs)
    assert results["bbox"]["AP-dog"] == pytest.approx(100 * 51 / 101)
    assert results["bbox"]["AP-cat"] == pytest.approx(100)


def test_no_prediction_gives_ap_0_and_says_why(dataset, caplog):
    outputs = {i: instances_of([], has_masks=True) for i in PERFECT}
    results = feed(COCOEvaluator(dataset), outputs)
    assert results["bbox"]["AP"] == 0
    assert results["segm"]["AP"] == 0
    assert "predicted nothing on 3 images" in caplog.text
    assert "SCORE_THRESH_TEST" in caplog.text


def test_a_task_that_nothing_was_predicted_for_gives_ap_0_and_says_why(dataset, caplog):
    """Pycocotools would score the boxes as masks."""
    results = feed(COCOEvaluator(dataset, tasks=("bbox", "segm")), _perfect())
    assert results["bbox"]["AP"] == pytest.approx(100)
    assert results["segm"]["AP"] == 0
    assert "no prediction has pred_masks, so the AP of segm is 0" in caplog.text


def test_no_image_at_all_gives_ap_0_and_says_why(dataset, caplog):
    results = feed(COCOEvaluator(dataset), {})
    assert results["bbox"]["AP"] == 0
    assert "no image was processed" in caplog.text


def test_image_predicted_again_counts_once(dataset, caplog):
    """Samplers that give each process equally many images repeat some of them."""
    evaluator = COCOEvaluator(dataset)
    feed(evaluator, _perfect())
    assert "repeats" not in caplog.text
    for image_id in (7, 7):
        evaluator.process([{"image_id": image_id}], [{"instances": instances_of(PERFECT[7])}])
    assert evaluator.evaluate()["bbox"]["AP"] == pytest.approx(100)
    assert "2 predictions are repeats of an image" in caplog.text
    assert "other objects" not in caplog.text


def test_parts_of_an_image_that_are_predicted_one_after_another_all_count(dataset, caplog):
    evaluator = COCOEvaluator(dataset)
    parts = {image_id: PERFECT[image_id][:1] for image_id in PERFECT}
    feed(evaluator, {key: instances_of(part) for key, part in parts.items()})
    for key, part in PERFECT.items():
        if part[1:]:
            evaluator.process([{"image_id": key}], [{"instances": instances_of(part[1:])}])
    assert evaluator.evaluate()["bbox"]["AP"] == pytest.approx(100)
    assert "of images that were predicted before with other objects" in caplog.text


def test_images_that_were_not_predicted_are_counted(dataset, caplog):
    evaluator = COCOEvaluator(dataset)
    results = feed(evaluator, {7: instances_of(PERFECT[7])})
    assert results["bbox"]["AP-dog"] == pytest.approx(100 * 51 / 101)
    assert "2 of the 3 images were not predicted, for instance 8, so their objects" in caplog.text
    caplog.clear()
    assert evaluator.evaluate(img_ids=[7])["bbox"]["AP-dog"] == pytest.approx(100)
    assert "not predicted" not in caplog.text


def test_class_out_of_range_is_left_out_and_told(dataset, caplog):
    outputs = _perfect()
    outputs[8] = instances_of([((5, 5, 30, 40), 17)])
    results = feed(COCOEvaluator(dataset), outputs)
    assert results["bbox"]["AP-dog"] == pytest.approx(100 * 51 / 101)
    assert "1 predictions have a class number that the dataset does not have" in caplog.text


def test_predictions_of_other_images_are_told(dataset, caplog):
    results = feed(COCOEvaluator(dataset), {1234: instances_of(PERFECT[7])})
    assert results["bbox"]["AP"] == 0
    assert "no predicted image id is in the ground truth" in caplog.text


def test_masks_of_another_size_than_the_image_are_told(dataset, caplog):
    found = instances_of(PERFECT[7])
    found.pred_masks = torch.ones(len(found), HEIGHT // 2, WIDTH // 2, dtype=torch.bool)
    results = feed(COCOEvaluator(dataset), {7: found})
    assert results["segm"]["AP"] == 0
    assert f"height and width {[HEIGHT // 2, WIDTH // 2]}" in caplog.text
    assert f"has {[HEIGHT, WIDTH]}" in caplog.text


def test_categories_that_match_nothing_are_told(dataset, caplog):
    results = feed(COCOEvaluator(dataset), {7: instances_of([((1, 1, 9, 9), 2)])})
    assert results["bbox"]["AP"] == 0
    assert "have none in common" in caplog.text


def test_limit_of_detections_counts(dataset):
    """With pycocotools' own summary any limit but 100 gives -1."""
    false_first = [((90, 90, 99, 99), 1), *PERFECT[8]]
    outputs = {8: instances_of(false_first, scores=[0.9, 0.8])}
    one = feed(COCOEvaluator(dataset, max_dets_per_image=1), outputs)
    two = feed(COCOEvaluator(dataset, max_dets_per_image=2), outputs)
    assert one["bbox"]["AP-dog"] == 0
    assert two["bbox"]["AP-dog"] == pytest.approx(100 * 0.5 * 51 / 101)


def test_results_file_has_the_ids_of_the_annotation_file(tmp_path):
    name = "own_ids"
    annotations = {
        "images": [{"id": 7, "height": HEIGHT, "width": WIDTH, "file_name": "7.jpg"}],
        # ids neither start at 0 nor ascend in the file
        "categories": [{"id": 90, "name": "dog"}, {"id": 18, "name": "cat"}],
        "annotations": [
            # without area, iscrowd and id, as many tools write them
            {"image_id": 7, "category_id": 18, "bbox": [10, 10, 50, 50]},
            {"image_id": 7, "category_id": 90, "bbox": [70, 20, 40, 70]},
        ],
    }
    (tmp_path / "gt.json").write_text(json.dumps(annotations))
    MetadataCatalog.get(name).set(
        json_file=str(tmp_path / "gt.json"),
        thing_classes=["cat", "dog"],
        thing_dataset_id_to_contiguous_id={18: 0, 90: 1},
    )
    try:
        evaluator = COCOEvaluator(name, output_dir=tmp_path / "inference")
        results = feed(evaluator, {7: instances_of([PERFECT[7][0]])})
    finally:
        MetadataCatalog.remove(name)
    assert results["bbox"]["AP-cat"] == pytest.approx(100)
    assert results["bbox"]["AP-dog"] == 0
    written = json.loads((tmp_path / "inference" / "coco_instances_results.json").read_text())
    assert [(r["image_id"], r["category_id"]) for r in written] == [(7, 18)]
    assert written[0]["bbox"] == [10, 10, 50, 50]
    kept = torch.load(tmp_path / "inference" / "instances_predictions.pth", weights_only=True)
    assert kept[0]["image_id"] == 7


def test_kept_coco_file_is_made_anew_when_the_data_change(dataset, tmp_path):
    """A stale file of an earlier run gives wrong numbers in silence."""
    assert feed(COCOEvaluator(dataset, output_dir=tmp_path), _perfect())["bbox"]["AP"] > 99
    path = tmp_path / f"{dataset}_coco_format.json"
    first = path.stat().st_mtime_ns
    feed(COCOEvaluator(dataset, output_dir=tmp_path), _perfect())
    assert path.stat().st_mtime_ns == first
    moved = dataset_dicts()
    moved[1]["annotations"][0]["bbox"] = [80, 50, 110, 99]
    DatasetCatalog.remove(dataset)
    DatasetCatalog.register(dataset, lambda: moved)
    results = feed(COCOEvaluator(dataset, output_dir=tmp_path), _perfect())
    assert results["bbox"]["AP-dog"] < 99
    assert path.stat().st_mtime_ns != first


def test_dataset_without_annotations_saves_results_and_scores_nothing(tmp_path):
    name = "test_split"
    content = {"images": [{"id": 7, "height": 9, "width": 9}], "categories": []}
    (tmp_path / "info.json").write_text(json.dumps(content))
    MetadataCatalog.get(name).set(json_file=str(tmp_path / "info.json"), thing_classes=["cat"])
    try:
        evaluator = COCOEvaluator(name, output_dir=tmp_path)
        assert feed(evaluator, {7: instances_of([((1, 1, 5, 5), 0)])}) == {}
    finally:
        MetadataCatalog.remove(name)
    assert len(json.loads((tmp_path / "coco_instances_results.json").read_text())) == 1


def _proposals() -> Instances:
    proposals = Instances((HEIGHT, WIDTH))
    proposals.proposal_boxes = Boxes(torch.tensor([[10.0, 10, 60, 60], [0, 0, 5, 5]]))
    proposals.objectness_logits = torch.tensor([1.0, 2.0])
    return proposals


def test_saved_proposals_can_be_trained_on(dataset, tmp_path):
    """detectron2 writes this file, and Fast R-CNN learns from it."""
    evaluator = COCOEvaluator(dataset, output_dir=tmp_path)
    evaluator.process([{"image_id": 7}], [{"proposals": _proposals()}])
    evaluator.evaluate()
    file = str(tmp_path / "box_proposals.pkl")
    [record] = load_proposals_into_dataset([{"image_id": 7}], file)
    assert record["proposal_boxes"].tolist() == [[0, 0, 5, 5], [10, 10, 60, 60]]
    assert record["proposal_objectness_logits"].tolist() == [2, 1]
    assert record["proposal_bbox_mode"] == BoxMode.XYXY_ABS


def test_proposals_are_scored_by_recall(dataset):
    evaluator = COCOEvaluator(dataset)
    evaluator.process([{"image_id": 7}], [{"proposals": _proposals()}])
    results = evaluator.evaluate()
    assert results["box_proposals"]["AR@100"] == pytest.approx(50)
    assert results["box_proposals"]["ARm@1000"] == pytest.approx(50)
    assert math.isnan(results["box_proposals"]["ARl@100"])


@pytest.mark.parametrize("tasks", ["bbox", ("boxes",)])
def test_unknown_task_is_refused(dataset, tasks):
    with pytest.raises(ConfigError, match="bbox, segm, keypoints"):
        COCOEvaluator(dataset, tasks=tasks)


def test_unknown_dataset_fails_before_inference():
    with pytest.raises(UnknownNameError):
        COCOEvaluator("no_such_dataset")


def test_missing_annotation_file_fails_before_inference():
    MetadataCatalog.get("lost").set(json_file="/nowhere/gt.json", thing_classes=["cat"])
    try:
        with pytest.raises(MissingFileError, match=r"/nowhere/gt\.json"):
            COCOEvaluator("lost")
    finally:
        MetadataCatalog.remove("lost")


def test_other_number_of_keypoints_asks_for_sigmas(dataset):
    instances = instances_of(PERFECT[8])
    instances.pred_keypoints = torch.ones((1, 5, 3))
    with pytest.raises(ConfigError, match=r"TEST\.KEYPOINT_OKS_SIGMAS to 5 numbers"):
        feed(COCOEvaluator(dataset), {8: instances})


def test_sigmas_as_a_column_are_read_as_a_list():
    """Configs of tutorials have `np.ones((K, 1)).tolist()` in TEST.KEYPOINT_OKS_SIGMAS."""
    box = {"bbox": [0, 0, 20, 20], "image_id": 1, "category_id": 1}
    truth = {**box, "id": 1, "area": 400, "iscrowd": 0, "num_keypoints": 2}
    content = {
        "images": [{"id": 1, "height": 30, "width": 30}],
        "categories": [{"id": 1, "name": "x", "keypoints": ["a", "b"]}],
        "annotations": [{**truth, "keypoints": [4, 4, 2, 9, 9, 2]}],
    }
    found = [{**box, "score": 0.9, "keypoints": [4, 4, 1, 13, 9, 1]}]
    listed, column = (
        score_coco(content, found, "keypoints", kpt_oks_sigmas=sigmas).stats
        for sigmas in ([0.1, 0.2], [[0.1], [0.2]])
    )
    assert np.array_equal(listed, column)
    assert 0 < listed[0] < 1


def test_json_of_instances_has_xywh_boxes_and_shifted_keypoints():
    instances = instances_of([((10, 20, 30, 60), 1)], has_masks=True)
    instances.pred_keypoints = torch.tensor([[[10.5, 20.5, 0.25]]])
    (result,) = instances_to_coco_json(instances, 5)
    assert result["bbox"] == [10, 20, 20, 40]
    # COCO gives the index of a pixel, whose centre is at index + 0.5
    assert result["keypoints"] == [10, 20, 0.25]
    assert result["segmentation"]["size"] == [HEIGHT, WIDTH]
    assert isinstance(result["segmentation"]["counts"], str)
    assert json.dumps(result)


def _random_case(task: str):
    random = np.random.default_rng(0)
    images = [{"id": i, "height": 200, "width": 200} for i in range(12)]
    categories = [{"id": c, "name": str(c)} for c in (3, 1, 8)]
    annotations, results = [], []
    for image in images[:-1]:
        for _ in range(int(random.integers(1, 5))):
            x, y, w, h = random.uniform(5, 90, 4).round(1).tolist()
            one = {"image_id": image["id"], "category_id": int(random.choice([1, 3, 8]))}
            points = np.stack(
                [x + w * random.random(17), y + h * random.random(17), np.full(17, 2.0)], axis=1
            )
            annotations.append(
                {
                    **one,
                    "bbox": [x, y, w, h],
                    "iscrowd": int(random.random() < 0.1),
                    "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
                    "keypoints": points.flatten().tolist(),
                }
            )
            moved = points + random.normal(0, 2, (17, 1)) * [1, 1, 0]
            results.append(
                {
                    **one,
                    "bbox": [x + float(random.normal(0, 4)), y, w, h],
                    "keypoints": moved.flatten().tolist(),
                    "score": float(random.random().__round__(1)),
                }
            )
    if task == "segm":
        for result, annotation in zip(results, annotations, strict=True):
            codes = mask_util.frPyObjects(annotation["segmentation"], 200, 200)
            result["segmentation"] = mask_util.merge(codes)
    return {"images": images, "categories": categories, "annotations": annotations}, results


@pytest.mark.parametrize("evaluation_type", [COCOeval_opt, COCOeval])
def test_ids_of_annotations_change_nothing(evaluation_type):
    """Pycocotools ignores a match with the annotation of id 0; some files have ids as text."""
    box, image = [2, 2, 6, 6], {"id": 0, "height": 10, "width": 20}
    for ids in ([0, 1], [5, 5], ["a", "b"], [-1, 0]):
        truth = {
            "images": [image, {**image, "id": 1}],
            "categories": [{"id": 0, "name": "ant"}],
            "annotations": [
                {"id": ident, "image_id": number, "category_id": 0, "bbox": box}
                for number, ident in enumerate(ids)
            ],
        }
        found = [{"image_id": n, "category_id": 0, "bbox": box, "score": 0.9} for n in (0, 1)]
        evaluation = score_coco(truth, found, "bbox", evaluation_type=evaluation_type)
        assert CocoScores.of(evaluation).average_precision() == pytest.approx(100)


@pytest.mark.skipif(fast_engine() is None, reason="the extra [fast] is not installed")
@pytest.mark.parametrize("task", ["bbox", "segm", "keypoints"])
@pytest.mark.parametrize("is_empty", [False, True])
@pytest.mark.parametrize("most_together", [1_000_000, 1])
def test_fast_engine_gives_the_very_same_arrays(task, is_empty, most_together, monkeypatch):
    """Also class by class, as very many objects are scored."""
    monkeypatch.setattr(coco_scoring, "_MOST_TOGETHER", most_together)
    dataset, results = _random_case(task)
    results = [] if is_empty else results
    options = {"max_dets": (1, 2, 50), "img_ids": [0, 1, 2, 5, 6, 7, 11]}
    found = score_coco(dataset, results, task, **options)
    assert (len(found.cocoGt.getCatIds()) == 1) is (most_together == 1)
    fast = CocoScores.of(found)
    evaluation = score_coco(dataset, results, task, evaluation_type=COCOeval, **options)
    plain = CocoScores.of(evaluation)
    assert np.array_equal(found.stats, evaluation.stats)
    assert np.array_equal(fast.precision_TRKAM, plain.precision_TRKAM)
    assert np.array_equal(fast.recall_TKAM, plain.recall_TKAM)
    assert fast.category_ids == plain.category_ids == [1, 3, 8]
    assert plain.metrics(task)["AP"] >= 0


def test_annotations_of_a_file_are_normalised_once(tmp_path, monkeypatch):
    """Doing it again for each task made preparing a large ground truth a third slower."""
    dataset, _ = _random_case("bbox")
    (tmp_path / "x.json").write_text(json.dumps(dataset))
    MetadataCatalog.get("normal once").set(json_file=str(tmp_path / "x.json"))
    read = coco_ground_truth.coco_ground_truth("normal once", None)
    MetadataCatalog.remove("normal once")
    monkeypatch.setattr(coco_ground_truth, "normalise_annotation", None)
    prepared = complete_ground_truth(read, "bbox")
    assert len(prepared["annotations"]) == len(dataset["annotations"])
    with pytest.raises(TypeError):
        complete_ground_truth({**read, "annotations": list(read["annotations"])}, "bbox")


@pytest.mark.parametrize("task", ["bbox", "keypoints"])
def test_summary_equals_that_of_pycocotools(task, capsys):
    """Pycocotools' own summary is right for its default limits; source: its printed table."""
    dataset, results = _random_case(task)
    gt = COCO()
    gt.dataset = complete_ground_truth(dataset, task)
    gt.createIndex()
    reference = COCOeval(gt, gt.loadRes(results), task)
    reference.evaluate()
    reference.accumulate()
    reference.summarize()
    capsys.readouterr()
    ours = score_coco(dataset, results, task)
    np.testing.assert_allclose(ours.stats, reference.stats)
    metrics = list(CocoScores.of(ours).metrics(task).values())
    expected = [float("nan") if v == -1 else 100 * v for v in reference.stats[: len(metrics)]]
    np.testing.assert_allclose(metrics, expected)


def test_per_class_table_is_logged(dataset, caplog):
    with caplog.at_level(logging.INFO):
        feed(COCOEvaluator(dataset), _perfect())
    assert "| cat   | 100.000 | dog   | 100.000 | eel   | nan |" in caplog.text


def test_recall_of_proposals_is_known_for_an_area_and_a_limit(dataset):
    proposals = Instances((HEIGHT, WIDTH))
    proposals.proposal_boxes = Boxes(torch.tensor([[10.0, 10, 60, 60], [0, 0, 5, 5]]))
    proposals.objectness_logits = torch.tensor([1.0, 2.0])
    predictions = [{"image_id": 7, "proposals": proposals}]
    truth = COCOEvaluator(dataset)._coco_api
    overlaps = {limit: _evaluate_box_proposals(predictions, truth, limit=limit) for limit in (1, 2)}
    assert overlaps[2]["num_pos"] == 2
    assert overlaps[2]["gt_overlaps"].tolist() == pytest.approx([0, 1])
    assert overlaps[2]["ar"] == pytest.approx(0.5)
    assert overlaps[1]["ar"] == 0
    loose = _evaluate_box_proposals(predictions, truth, thresholds=torch.tensor([0.0]))
    assert loose["recalls"].tolist() == [1]
    with pytest.raises(ValueError, match="no area 'huge'; choose one of all, small"):
        _evaluate_box_proposals(predictions, truth, area="huge")


def _truth(*annotations):
    images = [{"id": 1, "height": 40, "width": 60}]
    common = {"image_id": 1, "category_id": 1}
    return index_coco(
        {
            "images": images,
            "categories": [{"id": 1, "name": "x"}],
            "annotations": [{"id": n, **common, **a} for n, a in enumerate(annotations, 1)],
        }
    )


@pytest.mark.parametrize(
    ("truth", "boxes"),
    [
        # A mask without a box, and a rotated box, whose upright one counts for upright proposals.
        ({"segmentation": [[4, 4, 24, 4, 24, 14, 4, 14]]}, Boxes([[4, 4, 24, 14]])),
        ({"bbox": [14, 9, 10, 20, 90]}, Boxes([[4, 4, 24, 14]])),
        ({"bbox": [14, 9, 10, 20, 30]}, RotatedBoxes([[14, 9, 10, 20, 30]])),
        ({"bbox": [4, 4, 20, 10]}, RotatedBoxes([[14, 9, 20, 10, 0]])),
    ],
    ids=["mask", "rotated truth", "both rotated", "rotated proposal"],
)
def test_recall_of_proposals_takes_boxes_of_every_kind(truth, boxes):
    proposals = Instances((40, 60), proposal_boxes=boxes, objectness_logits=torch.ones(1))
    predictions = [{"image_id": 1, "proposals": proposals}]
    found = _evaluate_box_proposals(predictions, _truth(truth))
    assert found["gt_overlaps"].tolist() == pytest.approx([1.0], abs=1e-4)


def test_limit_of_detections_may_be_a_number_of_numpy(dataset):
    evaluator = COCOEvaluator(dataset, max_dets_per_image=np.int64(50))
    assert evaluator._max_dets_per_image == [1, 10, 50]
