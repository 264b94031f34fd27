"""Intervals of an average precision, and of the difference of two."""

import numpy as np
import pytest

from d2lite.reporting.analysis import analyze
from d2lite.reporting.bootstrap import (
    average_precision_difference,
    image_weights,
    interval,
    resampled_average_precision,
)

from .sets import BOX, FAR, random_set, truth_and_results


def matches_of(truth, results):
    return analyze(truth, results, "bbox", num_resamples=0).matches


def test_a_draw_counts_an_image_as_often_as_a_set_that_holds_it_so_often():
    truth, results = random_set(1, num_images=6)
    weights = np.array([[1] * 6, [2, 0, 1, 1, 0, 2]])
    drawn = [image for image, times in enumerate(weights[1], 1) for _ in range(times)]
    copy = {"images": [], "categories": truth["categories"], "annotations": []}
    copied = []
    for number, image in enumerate(drawn, 1):
        copy["images"].append({"id": number, "height": 200, "width": 200})
        of_image = [a for a in truth["annotations"] if a["image_id"] == image]
        copy["annotations"] += [{**a, "image_id": number} for a in of_image]
        copied += [{**r, "image_id": number} for r in results if r["image_id"] == image]
    for number, annotation in enumerate(copy["annotations"], 1):
        annotation["id"] = number
    values = resampled_average_precision(matches_of(truth, results), weights)
    assert values[0] == pytest.approx(analyze(truth, results, "bbox").metrics["AP"])
    assert values[1] == pytest.approx(analyze(copy, copied, "bbox").metrics["AP"], abs=0.5)


def test_results_compared_with_themselves_differ_by_nothing():
    matches = matches_of(*random_set(2))
    difference = average_precision_difference(matches, matches, num_resamples=20)
    assert (difference.value, difference.lower, difference.upper) == (0, 0, 0)


def test_results_that_are_better_in_each_image_are_surely_better():
    objects = [(i, "cat", BOX) for i in range(1, 9)]
    truth, good = truth_and_results(objects, [(i, "cat", BOX, 0.9) for i in range(1, 9)])
    _, bad = truth_and_results(objects, [(i, "cat", FAR, 0.9) for i in range(1, 9)])
    difference = average_precision_difference(
        matches_of(truth, bad), matches_of(truth, good), num_resamples=20
    )
    assert difference.value == pytest.approx(100)
    assert difference.lower == pytest.approx(100)


def test_the_same_seed_draws_the_same_images():
    assert (image_weights(5, 3, seed=1) == image_weights(5, 3, seed=1)).all()
    assert image_weights(5, 3).sum(axis=1).tolist() == [5, 5, 5, 5]


def test_without_draws_the_interval_is_not_defined():
    found = interval(np.array([40.0]))
    assert found.value == 40
    assert np.isnan(found.lower)


def test_results_of_other_images_are_not_compared():
    first, second = (matches_of(*random_set(1, num_images=n)) for n in (5, 6))
    with pytest.raises(ValueError, match="not scored on the same images"):
        average_precision_difference(first, second)
