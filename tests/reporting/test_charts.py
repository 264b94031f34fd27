"""Charts: SVG that is part of the page."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from d2lite.reporting.analysis import analyze
from d2lite.reporting.charts import Chart, Line, draw_svg, thinned
from d2lite.reporting.run_charts import result_charts, training_charts
from d2lite.reporting.run_files import Scalars

from .sets import BOX, FAR, random_set, truth_and_results


def chart(name="a", x=(0, 1), y=(0, 1)):
    return Chart(
        "Loss of all", "iteration", "loss", [Line(name, x, y), Line("b", x, y)], "It falls."
    )


def test_chart_takes_the_colours_of_the_page_and_is_hidden_from_screen_readers():
    svg = draw_svg(chart())
    assert "currentColor" in svg
    assert "var(--grid)" in svg
    assert "#010203" not in svg
    head = ElementTree.fromstring(svg).attrib
    assert head["aria-hidden"] == "true"
    assert "width" not in head


@pytest.mark.parametrize("name", ["$x_1$", "<b>&", "naïve 猫"])
def test_name_of_a_line_is_text(name):
    texts = ["".join(e.itertext()) for e in ElementTree.fromstring(draw_svg(chart(name))).iter()]
    assert name in texts


def test_a_long_name_of_a_line_is_cut():
    svg = draw_svg(chart("y" * 100_000))
    assert f"{'y' * 37}...<" in svg
    assert len(svg) < 100_000


def test_the_same_chart_is_the_same_text():
    assert draw_svg(chart()) == draw_svg(chart())


def test_numbers_that_are_not_finite_leave_a_gap():
    assert "NaN" not in draw_svg(chart(x=(0, 1, 2), y=(1, float("nan"), 2)))


@pytest.mark.parametrize("count", [0, 1, 2, 500, 501, 100_003])
def test_long_line_keeps_both_ends_and_the_fall_before_the_last(count):
    kept = thinned(count)
    assert len(kept) <= 510
    assert set(kept) >= {*range(min(count, 1)), *range(max(count - 3, 0), count)}


def test_f1_is_drawn_from_threshold_0_to_1_with_a_step_at_each_score():
    objects = [(1, "cat", BOX), (2, "cat", BOX)]
    found = [(1, "cat", BOX, 0.9), (1, "cat", FAR, 0.5)]
    line = result_charts(analyze(*truth_and_results(objects, found), "bbox"))[1].lines[0]
    assert line.x.tolist() == [0, 0.5, 0.5, 0.9, 0.9, 1]
    # Both: 2 / (2 + 2); the first alone: 2 / (1 + 2); none: 0.
    np.testing.assert_allclose(line.y, [50, 50, 200 / 3, 200 / 3, 0, 0])


def test_curves_of_classes_without_objects_and_of_too_many_classes_are_left_out():
    names = [line.name for line in result_charts(analyze(*random_set(1), "bbox"))[0].lines]
    assert names == ["all classes", "cat", "dog"]
    objects = [(1, "cat", BOX)]
    one = result_charts(analyze(*truth_and_results(objects, []), "bbox"))
    assert [line.name for line in one[0].lines] == ["all classes", "cat"]
    assert one[1].describes.endswith("No detection is right.")
    truth, results = random_set(1)
    truth["categories"] = [{"id": k, "name": str(k)} for k in range(1, 14)]
    for n, annotation in enumerate(truth["annotations"]):
        annotation["category_id"] = n % 13 + 1
    many = result_charts(analyze(truth, results, "bbox"))
    assert [line.name for line in many[0].lines] == ["all classes"]


def test_scalar_with_one_value_has_no_chart():
    scalars = Scalars(
        {"lr": ([0, 1], [1.0, 2.0]), "time": ([3], [1.0]), "x/total_loss": ([1, 2],) * 2}
    )
    assert [c.title for c in training_charts(scalars)] == ["Learning rate"]


def test_losses_begin_with_the_sum_and_have_those_of_the_validation():
    x = [0, 1], [2.0, 1.0]
    names = [
        "loss_cls",
        "total_loss",
        "validation/total_loss",
        "segm/AP",
        "bbox/AP50",
        "bbox/AP-cat",
    ]
    losses, results = training_charts(Scalars(dict.fromkeys(names, x)))
    assert [line.name for line in losses.lines] == [
        "total_loss",
        "loss_cls",
        "validation/total_loss",
    ]
    assert losses.describes.startswith("Losses: total_loss from 2 to 1,")
    assert [line.name for line in results.lines] == ["segm/AP", "bbox/AP50"]
