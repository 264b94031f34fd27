import logging
from types import SimpleNamespace

import numpy as np
import pytest

from d2lite.evaluation import flatten_results_dict, print_csv_format, verify_results
from d2lite.utils.errors import ConfigError, UserError

RESULTS = {"bbox": {"AP": 37.5, "AP50": 58.25, "AP-person": 50.0}, "segm": {"AP": 34.0}}


def _cfg(*entries):
    return SimpleNamespace(TEST=SimpleNamespace(EXPECTED_RESULTS=list(entries)))


def test_csv_has_the_main_metrics_of_each_task_in_order(caplog):
    with caplog.at_level(logging.INFO):
        print_csv_format(RESULTS)
    assert [r.getMessage() for r in caplog.records] == [
        "copypaste: Task: bbox",
        "copypaste: AP,AP50",
        "copypaste: 37.5000,58.2500",
        "copypaste: Task: segm",
        "copypaste: AP",
        "copypaste: 34.0000",
    ]


def test_flat_results_join_names_with_a_slash():
    flat = flatten_results_dict({"a": {"b": np.float64(1.5), "c": {"d": 2}}, "e": 3})
    assert flat == {"a/b": 1.5, "a/c/d": 2, "e": 3}
    assert type(flat["a/b"]) is float


@pytest.mark.parametrize(
    ("entry", "is_met"),
    [
        (["bbox", "AP", 37.0, 0.5], True),
        (["bbox", "AP", 37.0, 0.4], False),
        (["segm", "AP75", 30.0, 9.0], False),
        (["keypoints", "AP", 30.0, 9.0], False),
    ],
)
def test_expected_results_are_met_within_their_tolerance(entry, is_met):
    if is_met:
        assert verify_results(_cfg(entry), RESULTS)
        return
    # Scripts written for detectron2 ignore the result and rely on the end of the process.
    with pytest.raises(UserError, match=rf"{entry[0]}/{entry[1]}: .*, expected {entry[2]}"):
        verify_results(_cfg(entry), RESULTS)


def test_nan_meets_nothing():
    """A NaN is neither above nor below a bound, so the wrong comparison would let it pass."""
    with pytest.raises(UserError, match=r"bbox/AP: nan, expected 1\.0"):
        verify_results(_cfg(["bbox", "AP", 1.0, 1e9]), {"bbox": {"AP": float("nan")}})


def test_entry_of_another_form_is_refused_with_an_example():
    with pytest.raises(ConfigError, match=r"\[task, metric, value, tolerance\]"):
        verify_results(_cfg(["bbox", "AP"]), RESULTS)
