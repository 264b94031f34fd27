"""launch: several processes as one, and a failure in one is the failure of all, told once."""

import contextlib
import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from d2lite.engine.launch import launch
from d2lite.engine.launching import processes
from d2lite.engine.launching.environment import read_environment
from d2lite.utils import comm
from d2lite.utils.errors import ConfigError, DeviceError, ProcessKilledError, RunInterrupted

from . import launch_jobs

# Far below the half hour that processes wait for one that is gone, far above a busy machine.
PATIENCE = 600
ROOT = Path(__file__).resolve().parents[2]


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
            "kill",
            ProcessKilledError,
            r"^Rank 1 of 2 failed: it was ended by SIGKILL.*out of memory.*--resume",
            marks=pytest.mark.slow,
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


@pytest.mark.parametrize(
    ("kind", "error", "text"),
    [
        pytest.param("bug", RuntimeError, r"(?s)^Rank 1 of 2 failed.*ZeroDivisionError: deep in"),
        pytest.param("stop", RunInterrupted, "^Saved at iteration 7", marks=pytest.mark.slow),
        pytest.param("well", None, "", marks=pytest.mark.slow),
    ],
)
def test_an_abort_after_the_work_does_not_hide_how_it_ended(
    tmp_path, monkeypatch, kind, error, text
):
    """Seen once, on a busy machine: "terminate called without an active exception"."""
    # The launcher looks when a process ends, not between its report and its end.
    monkeypatch.setattr(processes, "_POLL_PERIOD", PATIENCE)
    expected = pytest.raises(error, match=text) if error else contextlib.nullcontext()
    with expected:
        launch(launch_jobs.end_and_abort, 2, args=(tmp_path, kind))
    assert (tmp_path / "handler1").exists()  # what a logger has left to do is done


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
def test_a_sigterm_before_the_training_ends_it_without_a_trace(tmp_path):
    """Seen in a soak: the launcher reported that a process had been killed, as if it had failed."""
    process = start_launcher(launch_jobs.load_for_long, tmp_path, 2)
    wait_until(lambda: all((tmp_path / f"loads{rank}").exists() for rank in (0, 1)))
    os.kill(process.pid, signal.SIGTERM)
    process.join(PATIENCE)
    kind, text = pickle.loads((tmp_path / "ending0").read_bytes())
    assert (kind, text.partition(":")[0]) == (
        "RunInterrupted",
        "Stopped by SIGTERM before the first iteration or after the last one",
    )


def wait_until(condition) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_rank_that_hangs_in_c_code_is_ended_soon_after_another_is_killed(tmp_path):
    """Torch's elastic agent waits 30 s for it."""
    with pytest.raises(RuntimeError, match=r"(?s)Rank 1 of 2 failed.*SIGKILL"):
        launch(launch_jobs.hang_beside_a_killed_rank, 2, args=(tmp_path,))
    assert time.time() - float((tmp_path / "killed").read_text()) < 20


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_processes_save_and_end_after_ctrl_c_and_after_the_death_of_the_launcher(tmp_path, number):
    """A terminal sends Ctrl-C to all; a launcher that is killed sends nothing to anybody."""
    launcher = start_launcher(launch_jobs.train_until_interrupted, tmp_path, 2)
    files = [tmp_path / f"pid{rank}" for rank in (0, 1)]
    wait_until(lambda: all(file.exists() and file.read_text() for file in files))
    workers = [int(file.read_text()) for file in files]
    os.kill(launcher.pid, number)
    if number == signal.SIGINT:
        for worker in workers:
            os.kill(worker, number)
    launcher.join(PATIENCE)
    wait_until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
    assert all((tmp_path / f"saved{rank}").exists() for rank in (0, 1))
    if number == signal.SIGINT:
        ending = pickle.loads((tmp_path / "ending0").read_bytes())
        assert ending == ("RunInterrupted", "Saved at iteration 9.")


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
        assert "ZeroDivisionError: on the other machine" in text
        assert "Rank 1 of 2 failed" in text


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


@pytest.fixture
def slurm(monkeypatch):
    """Set what srun sets in the last of four tasks on two nodes."""

    def set_variables(**others: str) -> None:
        values = {
            "SLURM_PROCID": "3",
            "SLURM_NTASKS": "4",
            "SLURM_LOCALID": "1",
            "SLURM_NODELIST": "gpu[03-05,9],big1",
            "SLURM_TASKS_PER_NODE": "2(x2)",
            "SLURM_JOB_ID": "31234",
        }
        for key, value in {**values, **others}.items():
            monkeypatch.setenv(key, value)

    return set_variables


@pytest.mark.parametrize(
    ("others", "place", "address"),
    [
        ({}, (3, 4, 1, 2), "tcp://gpu03:21234"),
        ({"SLURM_STEP_ID": "2", "SLURM_STEP_NODELIST": "a1"}, (3, 4, 1, 2), "tcp://a1:21434"),
        ({"SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_TASKS_PER_NODE": "4(x2)"}, (3, 8, 1, 4), ""),
        ({"MASTER_ADDR": "10.0.0.7", "MASTER_PORT": "29500"}, (3, 4, 1, 2), "tcp://10.0.0.7:29500"),
        ({"ENVIRONMENT": "BATCH", "SLURM_STEP_ID": "0"}, (3, 4, 1, 2), "tcp://gpu03:21234"),
    ],
)
def test_a_task_of_slurm_finds_its_place_and_the_address_of_the_first(
    slurm, others, place, address
):
    slurm(**others)
    started = read_environment()
    assert started.place == place
    assert started.init_method == (address or "tcp://gpu03:21234")


@pytest.mark.parametrize("others", [{"ENVIRONMENT": "BATCH"}, {"SLURM_NTASKS": "1"}])
def test_a_batch_script_and_a_task_alone_are_not_a_part_of_several(slurm, others):
    slurm(**others)
    assert read_environment() is None
    assert launch(dist.is_initialized, 1) is False


def test_a_task_for_each_node_starts_the_processes_of_its_node(slurm):
    """Users of detectron2 start one launcher a node: it has several machines, by an address."""
    slurm()
    with pytest.raises(ConfigError, match="--dist-url tcp://HOST:PORT"):
        launch(print, 2, 2, 0, None)


def test_nodes_with_different_numbers_of_tasks_are_named(slurm):
    slurm(SLURM_TASKS_PER_NODE="3,1")
    with pytest.raises(ConfigError, match=r"3,1 tasks.*--ntasks-per-node"):
        launch(print, 1)


@pytest.mark.slow
def test_tasks_of_slurm_run_as_one(tmp_path):
    """Two plain processes with the variables of srun."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = (
        "import sys; from pathlib import Path; from d2lite.engine.launch import launch; "
        "from tests.engine import launch_jobs; "
        "launch(launch_jobs.talk, 1, args=(Path(sys.argv[1]), 7))"
    )
    tasks = []
    for rank in "01":
        variables = {"SLURM_PROCID": rank, "SLURM_LOCALID": rank, "SLURM_NTASKS": "2"}
        variables |= {"SLURM_NODELIST": "localhost", "MASTER_PORT": str(port)}
        environment = {**os.environ, **variables, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", program, str(tmp_path)]
        tasks.append(subprocess.Popen(command, env=environment))
    assert [task.wait(PATIENCE) for task in tasks] == [0, 0]
    check_talk(tmp_path, 7)


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((-1,), "--num-gpus -1"),
        ((0, 2), "--num-gpus 0"),
        ((1, 0), "--num-machines 0"),
        ((1, 2, 2), "--machine-rank 2"),
    ],
)
def test_impossible_numbers_are_named(numbers, text):
    with pytest.raises(ConfigError, match=text):
        launch(print, *numbers, dist_url="tcp://127.0.0.1:1")


def test_no_gpu_on_one_machine_is_one_process():
    """Commands for machines without a GPU say --num-gpus 0, which detectron2 takes."""
    assert launch(lambda a, b: a + b, 0, args=(1, 2)) == 3


@pytest.mark.parametrize("dist_url", [None, "auto"])
def test_several_machines_need_an_address(dist_url):
    with pytest.raises(ConfigError, match=r"--dist-url tcp://HOST:PORT"):
        launch(print, 1, 2, 0, dist_url)


@pytest.mark.parametrize("dist_url", ["tcp://host", "tcp://:29500", "tcp://host:port"])
def test_an_address_without_host_or_port_is_named(dist_url):
    with pytest.raises(ConfigError, match="is not an address; give tcp://HOST:PORT"):
        launch(print, 1, 2, 0, dist_url)


def test_a_port_that_is_taken_is_named():
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        url = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=r"(?s)Cannot use --dist-url.*port taken"):
            launch(print, 1, 2, 0, url)


def test_more_gpus_than_there_are_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(DeviceError, match=r"--num-gpus 3, but this machine has 2"):
        launch(print, 3)
