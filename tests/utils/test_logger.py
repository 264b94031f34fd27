"""Logging: nothing twice, nothing lost, and the file that holds it is known."""

import io
import logging
import os
import resource

import pytest

from d2lite.utils import logger as logger_module
from d2lite.utils.errors import OutputError
from d2lite.utils.logger import (
    append_to_log_file,
    create_small_table,
    log_every_n,
    log_every_n_seconds,
    log_file_path,
    log_first_n,
    setup_logger,
)


@pytest.fixture
def name(request):
    """A logger of the test's own, taken down afterwards."""
    yield request.node.name
    for logger in [request.node.name, f"{request.node.name}_too"]:
        for handler in list(logging.getLogger(logger).handlers):
            logging.getLogger(logger).removeHandler(handler)
            handler.close()
    logger_module._log_files.clear()


def test_a_second_call_attaches_nothing_twice(name, tmp_path, capsys):
    for _ in range(2):
        logger = setup_logger(tmp_path, name=name)
    logger.info("once")
    assert capsys.readouterr().out.count("once") == 1
    assert (tmp_path / "log.txt").read_text().count("once") == 1


def test_messages_follow_to_another_output(name, tmp_path):
    """Two trainings in one process have a log each."""
    setup_logger(tmp_path / "a", name=name).info("first")
    setup_logger(tmp_path / "b", name=name).info("second")
    assert "second" not in (tmp_path / "a" / "log.txt").read_text()
    assert "second" in (tmp_path / "b" / "log.txt").read_text()
    assert log_file_path() == tmp_path / "b" / "log.txt"


def test_loggers_of_two_names_share_one_file(name, tmp_path):
    path = tmp_path / "all.log"
    setup_logger(path, name=name).info("mine")
    setup_logger(path, name=f"{name}_too", abbrev_name="other").warning("theirs")
    lines = path.read_text().splitlines()
    assert lines[0].endswith(f" {name}]: mine")
    assert lines[1].endswith(" other]: WARNING theirs")


def test_other_ranks_write_files_of_their_own_and_keep_off_the_console(name, tmp_path, capsys):
    setup_logger(tmp_path, 3, name=name).info("quiet")
    assert capsys.readouterr().out == ""
    assert "quiet" in (tmp_path / "log.txt.rank3").read_text()


def test_a_child_logger_is_named_in_full_behind_the_short_name(name, tmp_path, capsys):
    setup_logger(name=name, abbrev_name="short")
    logging.getLogger(f"{name}.part.piece").info("text")
    assert " short.part.piece]: text" in capsys.readouterr().out


def test_no_colour_where_stdout_is_no_terminal(name, capsys):
    setup_logger(name=name).error("plain")
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(("no_color", "expected"), [("", True), ("1", False)])
def test_colour_on_a_terminal_unless_told_not_to(name, capsys, monkeypatch, no_color, expected):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("NO_COLOR", no_color)
    setup_logger(name=name).error("seen")
    assert ("\x1b[31mERROR" in capsys.readouterr().out) is expected


def test_console_can_be_left_alone(name, capsys):
    setup_logger(name=name, configure_stdout=False).info("unseen")
    assert capsys.readouterr().out == ""


def test_a_log_that_cannot_be_opened_names_the_file_and_the_key(name, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"log\.txt.*OUTPUT_DIR"):
        setup_logger(tmp_path / "file", name=name)


def test_a_log_that_is_a_pipe_is_refused_and_not_waited_for(name, tmp_path):
    os.mkfifo(tmp_path / "log.txt")
    reader = os.open(tmp_path / "log.txt", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(OutputError, match=r"log\.txt: it is a named pipe"):
        setup_logger(tmp_path, name=name)
    os.close(reader)


def test_a_trace_can_be_added_to_the_log_file_alone(name, tmp_path, capsys):
    setup_logger(tmp_path, name=name)
    append_to_log_file("Traceback: all of it\n")
    assert (tmp_path / "log.txt").read_text() == "Traceback: all of it\n"
    assert capsys.readouterr().out == ""


def test_a_full_disk_costs_lines_of_the_log_and_nothing_else(name, tmp_path, capsys):
    """Told once, with neither an exception nor logging's own trace for each line."""
    logger = setup_logger(tmp_path, name=name)
    logger.info("before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, limits[1]))
    try:
        logger.info("while it is full")
        append_to_log_file("Traceback: all of it")
        setup_logger(tmp_path / "other", name=name)  # closes the first file
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    shown = capsys.readouterr()
    assert "while it is full" in shown.out
    assert shown.err.count("log.txt cannot be written (File too large)") == 1
    assert "Traceback" not in shown.err
    assert "before" in (tmp_path / "log.txt").read_text()


def test_first_n_counts_lines_of_code(caplog):
    caplog.set_level(logging.INFO)
    for i in range(5):
        log_first_n(logging.INFO, f"here {i}", n=2)
        log_first_n(logging.INFO, f"there {i}")
    assert caplog.messages == ["here 0", "there 0", "here 1"]


def test_first_n_can_count_texts(caplog):
    caplog.set_level(logging.INFO)
    for text in ["a", "b", "a"]:
        log_first_n(logging.INFO, text, key="message")
        log_first_n(logging.INFO, text.upper(), key=("caller", "message"))
    assert caplog.messages == ["a", "A", "b", "B"]


def test_first_n_refuses_an_unknown_key():
    with pytest.raises(ValueError, match=r"key='file'.*'caller', 'message'"):
        log_first_n(logging.INFO, "x", key="file")


def test_every_n_logs_the_first_of_each_n(caplog):
    caplog.set_level(logging.INFO)
    for i in range(7):
        log_every_n(logging.INFO, str(i), n=3)
    assert caplog.messages == ["0", "3", "6"]


def test_every_n_seconds_looks_at_the_clock(caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    for seconds in [100, 104, 105, 109.5, 110]:
        monkeypatch.setattr("time.monotonic", lambda now=seconds: now)
        log_every_n_seconds(logging.INFO, str(seconds), n=5)
    assert caplog.messages == ["100", "105", "110"]


def test_records_name_the_true_caller_and_its_module(caplog):
    caplog.set_level(logging.INFO)
    log_first_n(logging.INFO, "x")
    log_every_n(logging.INFO, "x", name="chosen")
    assert [record.funcName for record in caplog.records] == [
        "test_records_name_the_true_caller_and_its_module"
    ] * 2
    assert [record.name for record in caplog.records] == [__name__, "chosen"]


def test_a_small_table_aligns_names_and_values():
    assert create_small_table({"AP": 41.23456, "AP50": 7, "AR": float("nan")}).splitlines() == [
        "|   AP   | AP50 |  AR |",
        "| :----: | :--: | :-: |",
        "| 41.235 |  7   | nan |",
    ]
    assert create_small_table({}) == ""


def test_a_name_in_a_message_commands_no_terminal_that_shows_the_log(name, tmp_path, capsys):
    logger = setup_logger(tmp_path, name=name)
    logger.warning("Skipping %s", "a\x1b[2J.png")
    expected = "Skipping a\\x1b[2J.png\n"
    assert capsys.readouterr().out.endswith(expected)
    assert (tmp_path / "log.txt").read_text().endswith(expected)


def test_letters_that_the_console_cannot_show_are_escaped(name, monkeypatch):
    """Names of classes on a Windows console; without this each line ends in logging's trace."""
    written = io.BytesIO()
    console = io.TextIOWrapper(written, encoding="cp1252", errors="strict")
    monkeypatch.setattr("sys.stdout", console)
    setup_logger(name=name, color=False).info("class \u732b, caf\u00e9")
    assert written.getvalue().decode("cp1252").endswith("class \\u732b, caf\u00e9\n")
