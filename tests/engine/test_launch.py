"""launch: several processes as one, and a failure in one is the failure of all, told once."""

import multiprocessing
import os
import pickle
import signal
import socket
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from d2lite.engine.launch import launch
from d2lite.utils import comm
from d2lite.utils.errors import ConfigError, DeviceError

from . import launch_jobs

# Far below the half hour that processes wait for one that is gone, far above a busy machine.
PATIENCE = 600


def heard_by(folder: Path) -> list[dict]:
    return [pickle.loads((folder / str(rank)).read_bytes()) for rank in (0, 1)]


def check_talk(folder: Path, extra: object) -> None:
    first, second = heard_by(folder)
    assert (first["local"], second["local"]) == ((0, 2), (1, 2))
    assert (first["gather"], second["gather"]) == ([], [{"rank": 0}, {"rank": 1}])
    assert first["all_gather"] == second["all_gather"] == ["x", "xx"]
    assert first["seed"] == second["seed"]
    assert first["mean"] == {"a": [1.5, 3.0], "b": 0.5}
    assert first["sum"] == {"a": [3.0, 6.0], "b": 1.0}
    assert second["untouched"] == [2.0, 4.0]
    for heard in (first, second):
        assert {value for buffer in heard["buffers"] for value in buffer} == {3.0}
    assert first["extra"] == second["extra"] == extra


@pytest.mark.parametrize(
    ("kind", "error", "text"),
    [
        ("bug", RuntimeError, r"(?s)Rank 1 of 2 failed.*in talk_and_fail.*DivisionError: deep in"),
        pytest.param(
            "user", ConfigError, r"^SOLVER\.X is wrong\.\nMend it\.$", marks=pytest.mark.slow
        ),
        pytest.param(
            "kill", RuntimeError, r"Process 1 .*by SIGKILL.*out of memory", marks=pytest.mark.slow
        ),
    ],
)
def test_two_processes_hear_each_other_and_fail_together(tmp_path, kind, error, text):
    """Without this, rank 0 would wait half an hour for a process that is gone."""
    start = time.monotonic()
    with pytest.raises(error, match=text) as raised:
        launch(launch_jobs.talk_and_fail, 2, dist_url="auto", args=(tmp_path, kind))
    assert time.monotonic() - start < PATIENCE
    check_talk(tmp_path, kind)
    if kind == "user":
        assert "Rank 1 of 2 failed" in str(raised.value.__cause__)
    assert not dist.is_initialized()


@pytest.mark.slow
def test_processes_that_end_well_give_nothing_back(tmp_path):
    assert launch(launch_jobs.talk, 2, args=(tmp_path, 7)) is None
    check_talk(tmp_path, 7)


def start_launcher(*args: object) -> multiprocessing.Process:
    process = multiprocessing.get_context("spawn").Process(
        target=launch_jobs.launch_and_report, args=args
    )
    process.start()
    return process


@pytest.mark.slow
def test_a_sigterm_to_the_launcher_reaches_the_processes_and_their_message_comes_back(tmp_path):
    """What a scheduler sends when the time is up; the launcher alone is what it knows."""
    process = start_launcher(launch_jobs.stop_when_told, tmp_path, 2)
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "ready").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGTERM)
    process.join(PATIENCE)
    ending = pickle.loads((tmp_path / "ending0").read_bytes())
    assert ending == ("RunInterrupted", "Saved at iteration 7.")


@pytest.mark.slow
def test_a_failure_on_one_machine_is_told_on_all(tmp_path):
    """Two launchers on one machine stand in for two machines; only one has the failing rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    launchers = [
        start_launcher(launch_jobs.fail_on_the_second_machine, tmp_path, 1, 2, number, url)
        for number in (0, 1)
    ]
    start = time.monotonic()
    for process in launchers:
        process.join(PATIENCE)
    assert time.monotonic() - start < PATIENCE
    here, there = (pickle.loads((tmp_path / f"ending{n}").read_bytes()) for n in (1, 0))
    for kind, text in (here, there):
        assert kind == "RuntimeError"
        assert "ZeroDivisionError: on the other machine" in text or "closed by peer" in text
    assert "Rank 1 of 2 failed" in here[1]


def test_one_process_runs_here_without_a_group():
    assert launch(lambda x: (x, dist.is_initialized()), 1, args=(5,)) == (5, False)


@pytest.fixture
def under_torchrun(monkeypatch):
    """The environment that torchrun gives the one process of a run."""
    for key, value in {
        "RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "0",
    }.items():
        monkeypatch.setenv(key, value)


def test_a_process_started_by_torchrun_joins_its_group(under_torchrun):
    assert launch(lambda: (dist.is_initialized(), comm.get_local_size()), 1) == (True, 1)
    with pytest.raises(ZeroDivisionError):
        launch(lambda: 1 / 0, 1)
    assert not dist.is_initialized()


def test_torchrun_is_told_the_trace_of_a_failure(under_torchrun, monkeypatch, tmp_path):
    """Otherwise its report at the end of the console says no more than an exit status."""
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    with pytest.raises(ZeroDivisionError):
        launch(lambda: 1 / 0, 1)
    assert "ZeroDivisionError: division by zero" in (tmp_path / "error.json").read_text()


@pytest.mark.parametrize(
    ("numbers", "text"),
    [((0,), "--num-gpus 0"), ((1, 0), "--num-machines 0"), ((1, 2, 2), "--machine-rank 2")],
)
def test_impossible_numbers_are_named(numbers, text):
    with pytest.raises(ConfigError, match=text):
        launch(print, *numbers, dist_url="tcp://127.0.0.1:1")


@pytest.mark.parametrize("dist_url", [None, "auto"])
def test_several_machines_need_an_address(dist_url):
    with pytest.raises(ConfigError, match=r"--dist-url tcp://HOST:PORT"):
        launch(print, 1, 2, 0, dist_url)


@pytest.mark.parametrize("dist_url", ["tcp://host", "tcp://:29500", "tcp://host:port"])
def test_an_address_without_host_or_port_is_named(dist_url):
    with pytest.raises(ConfigError, match="is no address; give tcp://HOST:PORT"):
        launch(print, 1, 2, 0, dist_url)


def test_a_port_that_is_taken_is_named():
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        url = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=r"(?s)no place to meet.*port taken"):
            launch(print, 1, 2, 0, url)


def test_more_gpus_than_there_are_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(DeviceError, match=r"--num-gpus 3, but this machine has 2"):
        launch(print, 3)
