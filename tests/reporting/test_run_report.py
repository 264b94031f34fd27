"""A run leaves a report; what goes wrong with it never stops the run."""

import json
import logging
import math
from types import SimpleNamespace

import pytest

from d2lite.engine import DefaultTrainer, default_setup, evaluate_checkpoint, setup_cfg
from d2lite.engine.reports import report_run, run_report
from d2lite.reporting import RunFacts, read_facts
from d2lite.reporting.run_files import read_scalars

from ..tools.conftest import TINY


@pytest.fixture
def cfg(tmp_path):
    options = ["OUTPUT_DIR", str(tmp_path / "run")]
    return setup_cfg("quick_start.yaml", [*TINY, *options, "REPORT.ENABLED", "True"])


def test_training_and_evaluation_leave_a_report(cfg, tmp_path):
    folder = tmp_path / "run"
    default_setup(cfg, SimpleNamespace(eval_only=False, resume=False))
    trainer = DefaultTrainer(cfg)
    trainer.resume_or_load(resume=False)
    results = trainer.train()
    page = (folder / "report.html").read_text()
    assert "# command line" in page
    assert '<section id="images">' in page
    tasks = json.loads((folder / "report.json").read_text())["tasks"]
    for task in ("bbox", "segm"):
        assert tasks[task]["metrics"]["AP"] == pytest.approx(results[task]["AP"])
    (folder / "report.html").unlink()
    cfg.MODEL.WEIGHTS = str(folder / "model_final.pth")
    cfg.SOLVER.BASE_LR = 7.0
    evaluate_checkpoint(cfg)
    # What the training wrote about itself stays.
    page = (folder / "report.html").read_text()
    assert "BASE_LR: 0.001" in page
    assert "BASE_LR: 7.0" not in page


def test_key_switches_it_off(cfg, tmp_path):
    cfg.REPORT.ENABLED = False
    assert report_run(cfg, {}) is None
    assert not (tmp_path / "run").exists()


def test_failure_is_one_warning(cfg, monkeypatch, caplog):
    def fail(*args):
        raise MemoryError("no room")

    monkeypatch.setattr(run_report, "write_run_report", fail)
    with caplog.at_level(logging.INFO):
        assert report_run(cfg, {}) is None
    assert [r.getMessage() for r in caplog.records] == [
        "No report of the run: MemoryError: no room"
    ]


def test_a_result_that_is_not_a_number_is_null_in_the_facts_and_comes_back(tmp_path):
    RunFacts(results={"bbox/AP": 12.5, "bbox/APl": math.nan}).write(tmp_path)
    text = (tmp_path / "report_facts.json").read_text()
    assert json.loads(text)["results"] == {"bbox/AP": 12.5, "bbox/APl": None}
    found = read_facts(tmp_path).results
    assert found["bbox/AP"] == 12.5
    assert math.isnan(found["bbox/APl"])


def test_run_with_files_of_another_kind_has_no_facts(tmp_path):
    (tmp_path / "config.yaml").write_bytes(b"\xff\x81" + b"[" * 10_000)
    (tmp_path / "metrics.json").write_text("[" * 100_000 + '\n{"iteration": 1, "loss": 2.0}\n')
    assert read_facts(tmp_path).test_sets == []
    assert read_scalars(tmp_path).series == {"loss": ([1], [2.0])}
