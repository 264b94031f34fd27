"""Matches and what is counted from them, on sets that are small enough to count by hand."""

import numpy as np
import pytest
from pycocotools.cocoeval import COCOeval

from d2lite.evaluation.coco_scoring import CocoScores, score_coco
from d2lite.reporting.confusion import confusion_matrix
from d2lite.reporting.curves import (
    class_average_precision,
    precision_recall_points,
    score_curve,
)
from d2lite.reporting.error_kinds import error_kinds
from d2lite.reporting.image_ranking import chosen_images, image_results
from d2lite.reporting.matches import match_table
from d2lite.reporting.slices import by_aspect

from .sets import BOX, FAR, NEAR, random_set, truth_and_results


def matches_of(objects, detections, **options):
    truth, results = truth_and_results(objects, detections, **options)
    evaluation = score_coco(truth, results, "bbox", evaluation_type=COCOeval)
    return match_table(evaluation, {c["id"]: c["name"] for c in truth["categories"]})


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_of_each_class_is_the_scorers(seed):
    truth, results = random_set(seed)
    evaluation = score_coco(truth, results, "bbox", evaluation_type=COCOeval)
    scores = CocoScores.of(evaluation)
    matches = match_table(evaluation, {})
    for iou in matches.iou_thresholds:
        expected = [
            scores.average_precision(iou=iou, category_ids=[c]) / 100 for c in scores.category_ids
        ]
        np.testing.assert_allclose(class_average_precision(matches, iou), expected, atol=1e-12)


def test_a_set_without_detections_has_ap_0_and_only_misses():
    matches = matches_of([(1, "cat", BOX), (1, "dog", FAR)], [])
    assert class_average_precision(matches, 0.5).tolist() == [0.0, 0.0]
    errors = error_kinds(matches)
    assert errors.counts["missed"] == 2
    assert errors.cost["missed"] == 0.0 or np.isnan(errors.cost["missed"])


def test_rows_of_the_confusion_matrix_are_the_truth():
    """Reported of other tools as rows and columns swapped: one cat that was called a dog."""
    matches = matches_of([(1, "cat", BOX)], [(1, "dog", BOX, 0.9)])
    counts = confusion_matrix(matches, iou=0.5, min_score=0.5).counts
    assert counts.tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_detection_that_overlaps_nothing_counts_as_background():
    """Reported of other tools: a wrong detection at IoU 0 was in no cell."""
    matches = matches_of([(1, "cat", BOX)], [(1, "dog", FAR, 0.9)])
    counts = confusion_matrix(matches, iou=0.5, min_score=0.5).counts
    assert counts.tolist() == [[0, 0, 1], [0, 0, 0], [0, 1, 0]]


def test_detection_in_an_image_without_objects_counts_as_background():
    matches = matches_of([(1, "cat", BOX)], [(1, "cat", BOX, 0.9), (2, "cat", BOX, 0.8)])
    counts = confusion_matrix(matches, iou=0.5, min_score=0.5).counts
    assert counts.tolist() == [[1, 0, 0], [0, 0, 0], [1, 0, 0]]


def test_the_confusion_matrix_uses_the_threshold_that_it_states():
    matches = matches_of([(1, "cat", BOX)], [(1, "cat", BOX, 0.2), (1, "dog", FAR, 0.24)])
    kept = confusion_matrix(matches, iou=0.5, min_score=0.2)
    assert kept.min_score == 0.2
    assert kept.counts.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]
    high = confusion_matrix(matches, iou=0.5, min_score=0.25).counts
    assert high.tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]


def test_detections_on_a_crowd_are_counted_apart():
    matches = matches_of([(1, "cat", BOX), (1, "dog", FAR, "crowd")], [(1, "dog", FAR, 0.9)])
    confusion = confusion_matrix(matches, iou=0.5, min_score=0.5)
    assert confusion.counts.tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert confusion.num_ignored == 1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("min_score", [0.0, 0.4])
def test_the_confusion_matrix_counts_each_object_and_each_detection_once(seed, min_score):
    truth, results = random_set(seed)
    evaluation = score_coco(truth, results, "bbox", evaluation_type=COCOeval)
    matches = match_table(evaluation, {})
    confusion = confusion_matrix(matches, iou=0.5, min_score=min_score)
    assert confusion.counts[:-1].sum(axis=1).tolist() == matches.num_objects().tolist()
    used = matches.dt_score >= min_score
    assert confusion.counts[:, :-1].sum() + confusion.num_ignored == used.sum()
    right = (matches.is_right(0.5) & used).sum()
    assert (
        np.trace(confusion.counts)
        == right
        == sum(image.num_right for image in image_results(matches, iou=0.5, min_score=min_score))
    )


def test_curve_has_both_of_its_ends():
    """Reported of other tools: curves that begin and end where the detections do."""
    curve = score_curve(matches_of(*TWO_OF_THREE), 0.5)
    assert curve.thresholds.tolist() == [np.inf, 0.9, 0.8, 0.6]
    assert curve.right.tolist() == [0, 1, 1, 2]
    assert curve.wrong.tolist() == [0, 0, 1, 1]
    assert curve.num_objects == 3
    recall, precision = precision_recall_points(curve)
    np.testing.assert_allclose(recall, [0, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 1])
    np.testing.assert_allclose(precision, [1, 1, 2 / 3, 2 / 3, 0, 0])


TWO_OF_THREE = (
    [(1, "cat", BOX), (2, "cat", BOX), (3, "cat", BOX)],
    [(1, "cat", BOX, 0.9), (1, "cat", FAR, 0.8), (2, "cat", BOX, 0.6)],
)


def test_best_threshold_has_the_highest_f1_and_keeps_the_detection_at_it():
    curve = score_curve(matches_of(*TWO_OF_THREE), 0.5)
    # 2 right, 1 wrong, 3 objects: 2 * 2 / (3 + 3); at 0.9 it is 2 / (1 + 3).
    assert curve.best() == 3
    assert curve.f1[3] == pytest.approx(4 / 6)
    assert curve.thresholds[3] == 0.6
    assert curve.at(0.6) == 3
    assert curve.at(0.61) == 2
    assert curve.at(1.0) == 0


def test_detections_of_equal_score_are_one_point_of_the_curve():
    """Else a threshold would seem to keep the right one and drop the wrong one."""
    matches = matches_of([(1, "cat", BOX)], [(1, "cat", BOX, 0.5), (2, "cat", BOX, 0.5)])
    curve = score_curve(matches, 0.5)
    assert curve.right.tolist() == [0, 1]
    assert curve.wrong.tolist() == [0, 1]


def test_class_without_a_right_detection_has_no_best_threshold():
    assert score_curve(matches_of([(1, "cat", BOX)], [(1, "cat", FAR, 0.9)]), 0.5).best() is None
    assert score_curve(matches_of([], [(1, "cat", FAR, 0.9)]), 0.5).best() is None


@pytest.mark.parametrize(
    ("detection", "kind"),
    [
        ((1, "cat", NEAR, 0.8), "place"),
        ((1, "dog", BOX, 0.8), "class"),
        ((1, "dog", NEAR, 0.8), "both"),
        ((1, "cat", FAR, 0.8), "background"),
        ((2, "cat", BOX, 0.8), "background"),
    ],
)
def test_each_wrong_detection_has_one_kind(detection, kind):
    errors = error_kinds(matches_of([(1, "cat", BOX)], [detection]))
    expected = {k: int(k == kind) for k in errors.counts}
    # An object that a place or class error is about is not missed.
    expected["missed"] = int(kind in ("both", "background"))
    assert errors.counts == expected


def test_second_detection_of_an_object_is_a_duplicate():
    found = [(1, "cat", BOX, 0.9), (1, "cat", BOX, 0.8)]
    errors = error_kinds(matches_of([(1, "cat", BOX)], found))
    assert errors.counts["duplicate"] == 1
    assert sum(errors.counts.values()) == 1


def test_correcting_a_kind_of_error_gives_what_it_costs():
    # AP 50 at recall 0.5 and precision 1/2 after a false alarm: 51 of 101 levels at 1/2.
    matches = matches_of(
        [(1, "cat", BOX), (2, "cat", BOX)],
        [(1, "cat", FAR, 0.9), (1, "cat", BOX, 0.8), (2, "cat", NEAR, 0.7)],
    )
    errors = error_kinds(matches)
    assert errors.average_precision == pytest.approx(100 * 51 / 101 / 2)
    # Without the false alarm precision is 1 at these levels.
    assert errors.cost["background"] == pytest.approx(100 * 51 / 101 / 2)
    # With the place corrected: 2 of 3 right, at all levels.
    assert errors.cost["place"] == pytest.approx(100 * 2 / 3 - 100 * 51 / 101 / 2)
    assert errors.cost["class"] == errors.cost["duplicate"] == errors.cost["missed"] == 0


def test_errors_are_those_of_an_independent_implementation():
    hotcoco = pytest.importorskip("hotcoco")
    truth, results = random_set(5)
    evaluation = score_coco(truth, results, "bbox", evaluation_type=COCOeval)
    errors = error_kinds(match_table(evaluation, {}))
    ground = hotcoco.COCO(evaluation.cocoGt.dataset)
    oracle = hotcoco.COCOeval(ground, ground.load_res(results), "bbox")
    oracle.evaluate()
    expected = oracle.tide_errors()
    names = {"class": "Cls", "place": "Loc", "both": "Both", "duplicate": "Dupe",
             "background": "Bkg", "missed": "Miss"}  # fmt: skip
    assert errors.counts == {kind: expected["counts"][name] for kind, name in names.items()}
    assert errors.average_precision == pytest.approx(100 * expected["ap_base"])
    for kind in ("both", "duplicate", "background", "missed"):
        assert errors.cost[kind] == pytest.approx(100 * expected["delta_ap"][names[kind]])


def test_shape_of_an_object_decides_where_it_counts():
    tall, wide = [10, 10, 20, 60], [100, 10, 60, 20]
    matches = matches_of(
        [(1, "cat", tall), (1, "cat", wide)],
        [(1, "cat", wide, 0.9), (1, "cat", [10, 100, 80, 10], 0.95)],
    )
    tall_ones, square_ones, wide_ones = by_aspect(matches)
    assert (tall_ones.name, tall_ones.num_objects, tall_ones.average_precision) == ("tall", 1, 0.0)
    assert square_ones.num_objects == 0
    assert np.isnan(square_ones.average_precision)
    # The false alarm is wide too and comes first.
    assert wide_ones.average_precision == pytest.approx(50)
    assert wide_ones.recall_50 == 100


def test_images_are_in_one_group_each_and_the_worst_comes_first():
    objects = [(i, "cat", BOX) for i in range(1, 7)]
    found = [(i, "cat", BOX, 0.9) for i in range(1, 5)] + [(4, "cat", FAR, 0.9)]
    results = image_results(matches_of(objects, found), iou=0.5, min_score=0.5)
    groups = chosen_images(results, 2)
    assert [r.image_id for r in groups["worst"]] == [5, 6]
    assert [r.image_id for r in groups["typical"]] == [4, 1]
    assert {r.image_id for r in groups["best"]} == {2, 3}


def test_empty_image_shows_nothing_and_is_not_chosen():
    results = image_results(matches_of([(1, "cat", BOX)], []), iou=0.5, min_score=0.5)
    assert [r.f1 for r in results] == [0.0, 1.0, 1.0]
    assert [r.image_id for g in chosen_images(results, 3).values() for r in g] == [1]


def test_unknown_iou_is_refused_with_those_that_are_known():
    matches = matches_of([(1, "cat", BOX)], [])
    with pytest.raises(ValueError, match=r"IoU 0\.33 was not scored; known: \[0\.5, "):
        matches.is_right(0.33)
