import json
from pathlib import Path

import cv2
import pytest

from .conftest import TINY


@pytest.fixture
def report(run, tmp_path) -> Path:
    """The report of a training whose rate is far too high."""
    options = [*TINY, "SOLVER.BASE_LR", "1e18", "SOLVER.MAX_ITER", "9", "OUTPUT_DIR", tmp_path]
    result = run("train_net", "--config-file", "quick_start.yaml", *options)
    assert result.status == 2
    found = list(tmp_path.glob("blow_up_*.json"))
    assert len(found) == 1
    assert f"d2lite replay {found[0]}" in result.err
    return found[0]


def test_batch_of_a_blow_up_is_loaded_drawn_and_measured_again(run, report):
    result = run("replay_batch", report)
    assert result.status == 0, result.err
    content = json.loads(report.read_text())
    assert "<- not finite" in result.out
    assert len(content["images"]) == 2
    for name in content["images"]:
        assert f"{name} alone" in result.out
    pictures = sorted(report.with_suffix("").glob("*.png"))
    assert len(pictures) == 2
    assert min(cv2.imread(str(pictures[0])).shape[:2]) >= 64


def test_file_that_is_not_a_report_is_refused_with_what_it_lacks(run, tmp_path):
    found = '{"iteration": 1, "losses": {}, "images": [], "rank": 0, "config": "config.yaml"}'
    (tmp_path / "other.json").write_text(found)
    result = run("replay_batch", tmp_path / "other.json")
    assert result.status == 2
    assert "is not a report of a step: it lacks num_processes, seed." in result.err
    assert run("replay_batch", tmp_path / "gone.json").status == 2
