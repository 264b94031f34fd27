"""Writers: whole lines in files, progress that a person can read."""

import json
import logging
import math
import os
import sys

import pytest
import torch

from d2lite.utils import logger as logger_module
from d2lite.utils.errors import OutputError
from d2lite.utils.events import (
    CommonMetricPrinter,
    EventStorage,
    EventWriter,
    JSONWriter,
    TensorboardXWriter,
    get_event_storage,
)


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def run_writer(writer, iterations, **scalars):
    with EventStorage(iterations.start) as storage:
        for storage.iter in iterations:
            storage.put_scalars(**scalars)
            writer.write()
    writer.close()


def test_a_writer_must_say_how_to_write():
    with pytest.raises(NotImplementedError, match=r"EventWriter must define write"):
        EventWriter().write()


def test_json_lines_hold_the_scalars_of_each_iteration(tmp_path):
    path = tmp_path / "new" / "metrics.json"
    run_writer(JSONWriter(path), range(2), loss=torch.tensor(0.5), lr=0.25)
    assert read_lines(path) == [{"iteration": i, "loss": 0.5, "lr": 0.25} for i in range(2)]


def test_nothing_new_writes_no_line(tmp_path):
    path = tmp_path / "metrics.json"
    writer = JSONWriter(path)
    with EventStorage() as storage:
        storage.put_scalar("x", 1)
        writer.write()
        writer.write()
    writer.close()
    assert read_lines(path) == [{"iteration": 0, "x": 1}]


def test_values_of_several_iterations_get_lines_of_their_own_in_order(tmp_path):
    path = tmp_path / "metrics.json"
    writer = JSONWriter(path)
    with EventStorage() as storage:
        storage.put_scalar("late", 1, cur_iter=8)
        storage.put_scalar("early", 2, cur_iter=3)
        writer.write()
    writer.close()
    assert read_lines(path) == [{"iteration": 3, "early": 2}, {"iteration": 8, "late": 1}]


def test_lines_are_on_disk_after_each_write(tmp_path):
    """A killed run keeps what it measured."""
    path = tmp_path / "metrics.json"
    writer = JSONWriter(path)
    with EventStorage() as storage:
        storage.put_scalar("x", 1)
        writer.write()
        assert read_lines(path) == [{"iteration": 0, "x": 1}]
    writer.close()


def test_a_resumed_run_doubles_no_iteration_and_loses_none(tmp_path):
    """The run was killed at iteration 6 while writing; its last checkpoint is of iteration 3."""
    path = tmp_path / "metrics.json"
    run_writer(JSONWriter(path), range(7), loss=1.0)
    with path.open("a") as file:
        file.write('{"iteration": 7, "lo')
    run_writer(JSONWriter(path), range(4, 10), loss=2.0)
    assert [(line["iteration"], line["loss"]) for line in read_lines(path)] == [
        (i, 1.0 if i < 4 else 2.0) for i in range(10)
    ]
    set_aside = (tmp_path / "metrics.json.replaced").read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in set_aside[:-1]] == [4, 5, 6]
    assert set_aside[-1] == '{"iteration": 7, "lo'


def test_a_run_that_goes_on_where_the_last_ended_changes_no_old_line(tmp_path):
    path = tmp_path / "metrics.json"
    run_writer(JSONWriter(path), range(3), x=1)
    before = path.read_bytes()
    run_writer(JSONWriter(path), range(3, 5), x=1)
    assert path.read_bytes().startswith(before)
    assert len(read_lines(path)) == 5
    assert not (tmp_path / "metrics.json.replaced").exists()


def test_metrics_that_cannot_be_written_name_the_file_and_the_key(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"metrics.json.*OUTPUT_DIR"):
        JSONWriter(tmp_path / "file" / "metrics.json")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorBoard's own imports
def test_metrics_are_not_written_to_a_pipe_nor_read_from_a_device(tmp_path):
    path = tmp_path / "metrics.json"
    path.symlink_to("/dev/zero")
    with pytest.raises(OutputError, match="it is a device and not a file"):
        JSONWriter(path)


def test_lines_that_are_run_again_are_not_moved_to_a_pipe(tmp_path):
    path = tmp_path / "metrics.json"
    run_writer(JSONWriter(path), range(3), x=1)
    os.mkfifo(tmp_path / "metrics.json.replaced")
    reader = os.open(tmp_path / "metrics.json.replaced", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(OSError, match="it is a named pipe and not a file"):
        run_writer(JSONWriter(path), range(2, 4), x=1)
    os.close(reader)


def test_tensorboard_gets_scalars_images_and_histograms(tmp_path):
    writer = TensorboardXWriter(str(tmp_path))
    with EventStorage(7) as storage:
        storage.put_scalar("a/loss", 0.5)
        storage.put_image("picture", torch.zeros(3, 4, 4))
        storage.put_histogram("h", torch.arange(5.0), bins=5)
        writer.write()
        assert storage.images == storage.histograms == ()
    writer.close()
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    ).EventAccumulator(str(tmp_path))
    accumulator.Reload()
    (scalar,) = accumulator.Scalars("a/loss")
    assert (scalar.step, scalar.value) == (7, 0.5)
    assert accumulator.Tags()["images"] == ["picture"]
    assert accumulator.Histograms("h")[0].histogram_value.num == 5


def test_code_of_others_writes_to_tensorboards_writer_by_itself(tmp_path):
    writer = TensorboardXWriter(str(tmp_path))
    writer._writer.add_scalar("mine", 2.0, 5)
    with EventStorage(6) as storage:
        storage.put_scalar("ours", 3.0)
        writer.write()
    writer.close()
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    ).EventAccumulator(str(tmp_path))
    accumulator.Reload()
    assert [(s.step, s.value) for s in accumulator.Scalars("mine")] == [(5, 2.0)]
    assert [(s.step, s.value) for s in accumulator.Scalars("ours")] == [(6, 3.0)]


def test_a_writer_of_others_keeps_count_of_what_it_wrote(tmp_path):
    """Subclasses written for detectron2 choose what is new by these two names."""

    class Chosen(TensorboardXWriter):
        def write(self):
            storage = get_event_storage()
            shown = storage.latest_with_smoothing_hint(self._window_size)
            fresh = {name for name, (_, at) in shown.items() if at > self._last_write}
            wrote.append(sorted(fresh))
            self._last_write = max(at for _, at in shown.values())

    wrote = []
    writer = Chosen(str(tmp_path), window_size=3)
    with EventStorage() as storage:
        storage.put_scalars(a=1, b=2)
        writer.write()
        storage.step()
        storage.put_scalar("b", 2)
        writer.write()
    assert wrote == [["a", "b"], ["b"]]


def test_a_tensorboard_writer_that_never_wrote_leaves_no_file(tmp_path):
    TensorboardXWriter(str(tmp_path / "tb")).close()
    assert not (tmp_path / "tb").exists()


def test_folder_that_tensorboard_cannot_name_is_no_fault_of_code(tmp_path):
    """The run goes on without its file."""
    with pytest.raises(OutputError, match="names are UTF-8"):
        run_writer(TensorboardXWriter(str(tmp_path / "\udcff")), range(1), loss=1.0)


def test_missing_tensorboard_says_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match=r"pip install tensorboard"), EventStorage():
        TensorboardXWriter(str(tmp_path)).write()


def printed(caplog, storage, printer):
    caplog.clear()
    with caplog.at_level(logging.INFO, "d2lite.utils.events"), storage:
        printer.write()
    return [record.getMessage() for record in caplog.records]


def test_code_of_others_gets_the_lines_by_the_printers_logger(caplog):
    printer, said = CommonMetricPrinter(40), []
    printer.logger = logging.getLogger("of.others")
    printer.logger.addFilter(lambda record: said.append(record.getMessage()))
    storage = EventStorage(39)
    storage.put_scalars(**{"time": 0.5, "[metric]grad_scaler": 1024.0, "scope/loss": 1.0})
    with caplog.at_level(logging.INFO, "of.others"), storage:
        printer.write()
    (line,) = said
    assert "eta: 0:00:00" in line
    assert "[metric]grad_scaler: 1024" in line
    assert "scope" not in line


def test_a_progress_line_tells_what_a_person_watches(caplog):
    storage = EventStorage(19)
    storage.put_scalars(total_loss=1.5, loss_cls=0.5, time=2.0, data_time=0.25, epoch=1.25)
    storage.put_scalar("lr", 0.02, smoothing_hint=False)
    storage.put_scalar("validation/loss", 9.0)
    (line,) = printed(caplog, storage, CommonMetricPrinter(max_iter=50))
    assert line.startswith(
        "iter: 19  epoch: 1.25  eta: 0:01:00  total_loss: 1.500  loss_cls: 0.5000  "
        "lr: 0.02  time: 2.0000  data_time: 0.2500"
    )
    assert "validation" not in line
    assert storage.latest()["eta_seconds"] == (60.0, 19)


def test_numbers_stand_below_each_other(caplog):
    """A person compares lines; the eye follows columns."""
    storage, printer = EventStorage(), CommonMetricPrinter(max_iter=1000)
    starts = []
    for storage.iter, loss in [(9, 1.0), (99, 0.25), (999, 12.3456)]:
        storage.put_scalar("total_loss", loss)
        (line,) = printed(caplog, storage, printer)
        starts.append(line[:10])
    assert starts == ["iter:    9", "iter:   99", "iter:  999"]


def test_progress_without_any_scalar_is_still_a_line(caplog):
    (line,) = printed(caplog, EventStorage(3), CommonMetricPrinter())
    assert line.startswith("iter: 3")
    assert "eta" not in line


def test_time_left_is_estimated_from_the_clock_where_nobody_measures(caplog):
    storage, printer = EventStorage(0), CommonMetricPrinter(max_iter=10)
    assert "eta" not in printed(caplog, storage, printer)[0]
    storage.iter = 4
    assert "eta: " in printed(caplog, storage, printer)[0]
    assert storage.latest()["eta_seconds"][0] > 0


def test_a_printer_of_others_reads_the_time_left():
    printer = CommonMetricPrinter(max_iter=100)
    with EventStorage(39) as storage:
        storage.put_scalar("time", 2.0)
        assert printer._get_eta(storage) == "0:02:00"
        assert storage.latest()["eta_seconds"] == (120, 39)


def test_a_loss_that_is_not_a_number_is_shown_as_such(caplog):
    storage = EventStorage()
    storage.put_scalar("total_loss", math.nan)
    assert "total_loss: nan" in printed(caplog, storage, CommonMetricPrinter())[0]


def test_nothing_is_printed_after_the_last_iteration(caplog):
    """Hooks write once more for the final results, when progress has been told."""
    assert printed(caplog, EventStorage(50), CommonMetricPrinter(max_iter=50)) == []


def test_a_terminal_shows_one_live_line_and_the_log_file_all_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    logger_module.setup_logger(tmp_path, name="d2lite.utils.events")
    printer = CommonMetricPrinter(max_iter=40)
    try:
        with EventStorage() as storage:
            for storage.iter in (9, 19):
                storage.put_scalars(**{f"loss_of_a_long_name_{i}": i for i in range(9)})
                printer.write()
            logging.getLogger("d2lite.utils.events").info("an ordinary message")
        printer.close()
    finally:
        for handler in list(logging.getLogger("d2lite.utils.events").handlers):
            logging.getLogger("d2lite.utils.events").removeHandler(handler)
            handler.close()
        logger_module._log_files.clear()
    shown = capsys.readouterr().out
    assert "[==        ] 10/40" in shown
    assert "[=====     ] 20/40" in shown
    # Each live line is drawn in place; the message stands on a line of its own above the last.
    lines = shown.split("\n")
    assert len(lines) == 3
    assert lines[0].endswith("an ordinary message")
    assert lines[1].startswith("\r\x1b[K[=====     ] 20/40")
    assert all(len(piece.replace("\x1b[K", "")) < 60 for piece in lines[1].split("\r"))
    logged = (tmp_path / "log.txt").read_text()
    assert "iter:  9 " in logged
    assert "iter: 19 " in logged
    assert logged.count("loss_of_a_long_name_8: 8.000") == 2


def test_numbers_that_are_not_finite_are_null_in_json(tmp_path):
    """JSON has neither NaN nor infinity; other programs stop at such a line."""
    path = tmp_path / "metrics.json"
    with EventStorage() as storage:
        writer = JSONWriter(path)
        storage.put_scalars(a=float("nan"), b=float("inf"), c=1.5, smoothing_hint=False)
        writer.write()
    assert json.loads(path.read_text()) == {"iteration": 0, "a": None, "b": None, "c": 1.5}


@pytest.mark.parametrize(
    "line",
    [b"null", b"[1]", b'{"iteration": "x"}', b'{"iteration": null}', b"{", b"\xff", b"[" * 9**5],
)
def test_resumed_writer_takes_any_line(tmp_path, line):
    """The lines before a broken one are kept; what is not an object is moved away."""
    path = tmp_path / "metrics.json"
    path.write_bytes(b'{"iteration": 1}\n' + line + b"\n")
    with EventStorage(start_iter=2) as storage:
        writer = JSONWriter(path)
        storage.put_scalar("a", 1.0)
        writer.write()
    lines = path.read_bytes().splitlines()
    assert (lines[0], lines[-1]) == (b'{"iteration": 1}', b'{"a": 1.0, "iteration": 2}')
