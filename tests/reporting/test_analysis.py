"""The analysis: its numbers agree with each other and with the results table."""

import csv
import io
import json

import numpy as np
import pytest

from d2lite.evaluation.coco_scoring import CocoScores, score_coco
from d2lite.reporting.analysis import analyze, as_json, csv_tables

from .sets import BOX, FAR, random_set, truth_and_results


@pytest.fixture(scope="module")
def analysis():
    return analyze(*random_set(3), "bbox", num_resamples=20)


def test_metrics_are_those_of_the_results_table(analysis):
    scores = CocoScores.of(score_coco(*random_set(3), "bbox"))
    assert analysis.metrics == pytest.approx(scores.metrics("bbox"), abs=0, nan_ok=True)
    per_class = [row.average_precision for row in analysis.classes]
    assert np.mean(per_class) == pytest.approx(analysis.metrics["AP"])
    assert analysis.interval.value == pytest.approx(analysis.metrics["AP"])
    assert analysis.interval.lower < analysis.metrics["AP"] < analysis.interval.upper
    assert analysis.errors.average_precision == pytest.approx(analysis.metrics["AP50"])
    assert analysis.sizes[0].average_precision == pytest.approx(analysis.metrics["APs"])


def test_counts_agree_between_the_parts(analysis):
    at = analysis.curve.at(analysis.threshold)
    assert np.trace(analysis.confusion.counts) == analysis.curve.right[at]
    assert sum(i.num_right for i in analysis.images) == analysis.curve.right[at]
    assert sum(i.num_wrong for i in analysis.images) == analysis.curve.wrong[at]
    objects = analysis.curve.num_objects
    assert sum(i.num_right + i.num_missed for i in analysis.images) == objects
    assert sum(row.num_objects for row in analysis.classes) == objects
    assert sum(part.num_objects for part in analysis.aspects) == objects
    assert analysis.confusion.counts[:-1].sum() == objects
    wrong = sum(n for kind, n in analysis.errors.counts.items() if kind != "missed")
    assert wrong == analysis.curve.wrong[-1]


def test_json_and_csv_hold_the_same_numbers(analysis):
    plain = json.loads(json.dumps(as_json(analysis), allow_nan=False))
    tables = csv_tables(analysis)
    rows = list(csv.DictReader(io.StringIO(tables["classes.csv"])))
    assert [float(r["average_precision"]) for r in rows] == [
        row["average_precision"] for row in plain["classes"]
    ]
    confusion = list(csv.reader(io.StringIO(tables["confusion.csv"])))
    assert confusion[0] == ["true class", "cat", "dog", "not found"]
    assert [[int(n) for n in row[1:]] for row in confusion[1:]] == plain["confusion"]["counts"]
    errors = list(csv.DictReader(io.StringIO(tables["errors.csv"])))
    assert len(errors) == sum(i.num_wrong + i.num_missed for i in analysis.images)


def test_without_results_everything_is_0_or_undefined_and_can_be_written():
    truth, _ = truth_and_results([(1, "cat", BOX)], [])
    found = analyze(truth, [], "bbox")
    plain = json.loads(json.dumps(as_json(found), allow_nan=False))
    assert plain["metrics"]["AP"] == 0
    assert plain["best_threshold"] is None
    assert plain["thresholds"] == {}
    assert plain["confusion"]["counts"] == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert csv_tables(found)["errors.csv"].count("miss,") == 1


def test_without_objects_ap_is_undefined_and_all_detections_are_background():
    truth, results = truth_and_results([], [(1, "cat", FAR, 0.9)])
    plain = as_json(analyze(truth, results, "bbox"))
    assert plain["metrics"]["AP"] is None
    assert plain["errors"]["kinds"]["background"]["count"] == 1
    assert plain["errors"]["kinds"]["background"]["cost"] is None


def test_ids_that_are_text_are_kept():
    truth, results = truth_and_results([(1, "cat", BOX)], [(1, "cat", BOX, 0.9)])
    for entry in (*truth["images"],):
        entry["id"] = f"photo {entry['id']}"
    for entry in (*truth["annotations"], *results):
        entry["image_id"] = f"photo {entry['image_id']}"
    found = analyze(truth, results, "bbox")
    assert found.images[0].image_id == "photo 1"
    assert found.images[0].num_right == 1


def test_masks_and_keypoints_are_compared_as_such():
    truth, results = truth_and_results([(1, "cat", BOX)], [(1, "cat", BOX, 0.9)])
    polygon = [20, 20, 60, 20, 60, 60, 20, 60]
    points = [30, 30, 2] * 2
    truth["annotations"][0] |= {"segmentation": [polygon], "keypoints": points, "num_keypoints": 2}
    ours = score_coco(truth, [], "segm")
    half = {"segmentation": ours.cocoGt.annToRLE({**truth["annotations"][0], "segmentation":
            [[20, 20, 40, 20, 40, 60, 20, 60]]})}  # fmt: skip
    masks = analyze(truth, [{**results[0], **half}], "segm")
    # A box around half of the object: IoU 0.5 is a match at the lowest threshold alone.
    assert masks.metrics["AP50"] == pytest.approx(100)
    assert masks.metrics["AP"] == pytest.approx(10)
    moved = [30, 30, 1] * 2
    found = analyze(truth, [{**results[0], "keypoints": moved}], "keypoints",
                    kpt_oks_sigmas=[0.05, 0.05])  # fmt: skip
    assert found.metrics["AP"] == pytest.approx(100)
    assert found.errors.counts["place"] == 0
