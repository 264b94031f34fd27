"""Writers to Weights & Biases and MLflow, which may not cost a run anything, and results.csv."""

import csv
import json
import logging
import socket
import sys
import time
from pathlib import Path

import pytest
import torch

from d2lite.config import get_cfg
from d2lite.engine.defaults.output_dir import further_writers
from d2lite.utils import live_process
from d2lite.utils.errors import ConfigError, MissingPackageError
from d2lite.utils.events import CSVWriter, EventStorage, JSONWriter, LiveWriter, live_writer

CLIENT = """
import sys, time
sys.modules.pop("d2lite.utils.live_process", None)
from d2lite.utils import live_process
class Run:
    def __init__(self, beginning): {begin}
    def log(self, report): {log}
    def close(self): {close}
live_process.RUNS["wandb"] = Run
live_process.main("wandb")
"""


@pytest.fixture
def stub(monkeypatch, tmp_path):
    """A function: what a client does, in Python, to a writer that uses it."""
    monkeypatch.setattr(live_writer, "find_spec", lambda name: True)
    start = live_writer.subprocess.Popen

    def use(begin="pass", log="pass", close="pass", **options):
        code = CLIENT.format(begin=begin, log=log, close=close)
        monkeypatch.setattr(
            live_writer.subprocess,
            "Popen",
            lambda command, **more: start([sys.executable, "-c", code], **more),
        )
        return LiveWriter("wandb", str(tmp_path), {"A.B": 3}, **options)

    return use


def run(writer, iterations=range(3), image=None):
    start = time.perf_counter()
    with EventStorage(iterations.start) as storage:
        for storage.iter in iterations:
            storage.put_scalar("loss", 0.5 * storage.iter, smoothing_hint=False)
            if image is not None:
                storage.put_image("photo", image)
            writer.write()
            storage.clear_images()
        seconds = time.perf_counter() - start
    writer.close()
    return seconds


def test_everything_reaches_the_client_in_order(stub, tmp_path):
    out = tmp_path / "got.txt"
    writer = stub(
        f"self.f = open({str(out)!r}, 'w'); print(beginning, file=self.f)",
        "print(report.scalars, [(n, i.shape, int(i.max()), k) for n, i, k in report.images], "
        "file=self.f)",
        "print('closed', file=self.f)",
    )
    run(writer, range(2), torch.ones(3, 4, 5))
    lines = out.read_text().splitlines()
    assert "config={'A.B': 3}, is_resumed=False" in lines[0]
    assert lines[1:] == [
        "{0: {'loss': 0.0}} [('photo', (4, 5, 3), 255, 0)]",
        "{1: {'loss': 0.5}} [('photo', (4, 5, 3), 255, 1)]",
        "closed",
    ]


@pytest.mark.parametrize(
    "fails",
    [{"begin": "raise OSError('refused')"}, {"log": "raise OSError"}, {"close": "raise OSError"}],
    ids=["at first", "later", "at the end"],
)
def test_client_that_fails_costs_one_warning(stub, caplog, fails):
    assert run(stub(**fails), range(50)) < 2
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "wandb has failed" in warnings[0].message
    assert (
        "Traceback"
        in Path(warnings[0].message.partition("run goes on. ")[2].split()[0]).read_text()
    )


@pytest.mark.parametrize("where", ["begin", "log", "close"])
def test_client_that_hangs_does_not_hold_the_run(stub, caplog, where):
    writer = stub(**{where: "time.sleep(60)"}, end_seconds=1.5)
    begin = time.perf_counter()
    # More than may wait, each with a picture that the pipe to the client does not hold.
    assert run(writer, range(300), torch.zeros(3, 50, 900)) < 3
    assert time.perf_counter() - begin < 6
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1
    assert writer._process.wait(10) != 0, "the process is ended"


def test_missing_package_and_address_are_said_before_the_run(monkeypatch, tmp_path):
    monkeypatch.setattr(live_writer, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"d2lite\[live\]"):
        LiveWriter("wandb", str(tmp_path), {})
    monkeypatch.setattr(live_writer, "find_spec", lambda name: True)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI"):
        LiveWriter("mlflow", str(tmp_path), {})


def test_key_names_the_writers(tmp_path):
    cfg = get_cfg()
    assert further_writers(cfg) == []
    cfg.OUTPUT_DIR, cfg.WRITERS = str(tmp_path), ("csv",)
    assert [type(writer) for writer in further_writers(cfg)] == [CSVWriter]
    cfg.WRITERS = ("csv", "comet")
    with pytest.raises(ConfigError, match="'comet'; there are csv, mlflow, wandb"):
        further_writers(cfg)


def test_wandb_keeps_a_run_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    run(LiveWriter("wandb", str(tmp_path), {"A.B": 3}), range(2), torch.ones(3, 4, 5))
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert (tmp_path / "wandb_run.txt").read_text() in file.name
    content = file.read_bytes()
    assert all(word in content for word in (b"loss", b"0.5", b"iteration", b"A.B", b"image-file"))
    assert len(list(tmp_path.glob("wandb/offline-run-*/files/media/images/*.png"))) == 2


@pytest.fixture
def mlflow(monkeypatch, tmp_path):
    found = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return found.MlflowClient()


@pytest.mark.slow
def test_mlflow_gets_a_run_and_its_continuation(tmp_path, mlflow):
    folder = str(tmp_path / "first")
    run(LiveWriter("mlflow", folder, {"A.B": 3}), range(2), torch.ones(3, 4, 5))
    run(LiveWriter("mlflow", folder, {"A.B": 3}), range(2, 3))
    experiment = mlflow.get_experiment_by_name("d2lite")
    (found,) = mlflow.search_runs([experiment.experiment_id])
    assert found.info.run_name == "first"
    assert found.info.status == "FINISHED"
    assert found.data.params == {"A.B": "3"}
    history = mlflow.get_metric_history(found.info.run_id, "loss")
    assert [(one.step, one.value) for one in history] == [(0, 0.0), (1, 0.5), (2, 1.0)]
    assert len(mlflow.list_artifacts(found.info.run_id, "images")) >= 2


def test_mlflow_allows_every_name_of_a_scalar():
    assert live_process._allowed("bbox/AP-a:b (c)") == "bbox/AP-a_b _c_"


def test_server_that_accepts_and_never_answers_costs_one_warning(tmp_path, monkeypatch, caplog):
    pytest.importorskip("mlflow")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        writer = LiveWriter("mlflow", str(tmp_path), {}, end_seconds=2)
        assert run(writer, range(20)) < 1
    assert [r.message for r in caplog.records if "mlflow has not taken" in r.message]


def test_csv_has_a_column_for_each_scalar_and_a_row_for_each_line(tmp_path):
    metrics, table = tmp_path / "metrics.json", tmp_path / "results.csv"
    writers = [JSONWriter(metrics), CSVWriter(table, metrics)]
    with EventStorage() as storage:
        for storage.iter in range(3):
            storage.put_scalar("loss", storage.iter)
            if storage.iter == 2:
                storage.put_scalar("bbox/AP", 40.5)
            for writer in writers:
                writer.write()
            assert table.is_file()
    for writer in writers:
        writer.close()
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["iteration"] for row in rows] == ["0", "1", "2"]
    assert [row["bbox/AP"] for row in rows] == ["", "", "40.5"]
    assert list(rows[0]) == ["iteration", "bbox/AP", "loss"]
    assert len(rows) == len([json.loads(line) for line in metrics.read_text().splitlines()])
