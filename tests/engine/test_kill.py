"""Runs killed by SIGKILL at any moment, and resumed, end as one that was never stopped."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]

# Scalars that measure the machine.
_TIMES = {"time", "data_time", "rank_data_time", "eta_seconds"}

# Two passes of two images for each of two processes: batch norm needs more than one.
_PAIR = ["DATALOADER.NUM_WORKERS", 1, "SOLVER.IMS_PER_BATCH", 8, "TEST.LOSS_PERIOD", 0]


class Nursery:
    """Starts trainings in children of one helper process."""

    def __init__(self, folder: Path) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self.folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.engine.kill_job", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )
        assert self._answer() == "ready"

    def _answer(self) -> str:
        return self._process.stdout.readline().strip()

    def _order(self, order: object) -> str:
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def start(self, name: str, options: list = (), *, resume: bool | str = False, **more) -> int:
        order = {"folder": str(self.folder / name), "options": list(options), "resume": resume}
        return int(self._order({**order, **more}))

    def wait(self) -> int:
        """How the last child ended: its exit status, or minus the signal."""
        return os.waitstatus_to_exitcode(int(self._order("wait")))

    def run(self, name: str, options: list = (), **more) -> int:
        self.start(name, options, **more)
        return self.wait()

    def console(self, name: str) -> str:
        return (self.folder / name / "console.txt").read_text()

    def close(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


@pytest.fixture(scope="module")
def nursery(tmp_path_factory) -> Iterator[Nursery]:
    made = Nursery(tmp_path_factory.mktemp("kill"))
    yield made
    made.close()


def unbroken(nursery: Nursery, options: list, **more) -> Path:
    """The folder of a run with these options that was never stopped."""
    name = "whole_" + "_".join(map(str, [*options, *more.values()])).replace(".", "_")
    if not (nursery.folder / name).exists():
        assert nursery.run(name, options, **more) == 0, nursery.console(name)
    return nursery.folder / name


def assert_equal_runs(folder: Path, expected: Path) -> None:
    """Every tensor and number in the final checkpoints, and every line of the metrics."""
    files = [torch.load(path / "model_final.pth", weights_only=True) for path in (folder, expected)]
    for content in files:
        content["d2lite"].pop("config")
    assert_same(*files, "checkpoint")
    found, wanted = (read_metrics(path) for path in (folder, expected))
    assert [line["iteration"] for line in found] == [line["iteration"] for line in wanted]
    assert found == wanted


def assert_same(one: object, other: object, where: str) -> None:
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}[{index}]")
    else:
        assert one == other or (one != one and other != other), where


def read_metrics(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    # NaN, which an average precision may be, is not equal to itself.
    return [
        {name: repr(value) for name, value in line.items() if name not in _TIMES} for line in lines
    ]


def kill_and_resume(
    nursery: Nursery, name: str, options: list, *, kills: int, steps: int, seed: int, **more
) -> None:
    """Kill each part of a run after some steps and a little time, and let the last one end."""
    draws = random.Random(seed)
    progress = nursery.folder / name / "progress"
    for _ in range(kills):
        progress.unlink(missing_ok=True)
        child = nursery.start(name, options, resume=True, **more)
        wait_for_steps(progress, draws.randint(1, steps))
        # Into the next steps, the save or the evaluation.
        time.sleep(draws.uniform(0, 0.05))
        # With its loader's workers, which a killed machine would take along.
        os.killpg(child, signal.SIGKILL)
        assert nursery.wait() == -signal.SIGKILL, nursery.console(name)
    assert nursery.run(name, options, resume=True, **more) == 0, nursery.console(name)
    assert nursery.console(name).count("Training from iteration") == kills + 1


def wait_for_steps(progress: Path, count: int) -> None:
    wait_until(lambda: progress.exists() and int(progress.read_text() or 0) >= count)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("workers", [0, 2])
def test_run_killed_at_random_moments_ends_bit_for_bit_as_the_unbroken_one(nursery, workers):
    options = ["DATALOADER.NUM_WORKERS", workers]
    expected = unbroken(nursery, options)
    name = f"killed_{workers}"
    kill_and_resume(nursery, name, options, kills=3, steps=12, seed=workers)
    assert_equal_runs(nursery.folder / name, expected)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_run_killed_twelve_times_ends_bit_for_bit_as_the_unbroken_one(nursery, workers):
    options = ["DATALOADER.NUM_WORKERS", workers, "SOLVER.CHECKPOINT_PERIOD", 2]
    expected = unbroken(nursery, options)
    name = f"often_{workers}"
    kill_and_resume(nursery, name, options, kills=12, steps=4, seed=10 + workers)
    assert_equal_runs(nursery.folder / name, expected)


@pytest.mark.slow
def test_two_processes_killed_together_end_bit_for_bit_as_the_unbroken_ones(nursery):
    options = [*_PAIR, "SOLVER.MAX_ITER", 16, "SOLVER.CHECKPOINT_PERIOD", 2]
    expected = unbroken(nursery, options, processes=2)
    kill_and_resume(nursery, "pair", options, kills=3, steps=4, seed=3, processes=2)
    assert_equal_runs(nursery.folder / "pair", expected)


@pytest.mark.parametrize(("number", "share"), [(2, 0.5), (3, 1.0)])
def test_run_killed_during_a_save_goes_on_from_the_one_before(nursery, number, share):
    """Half of the file was written, or all of it and its name was missing."""
    expected = unbroken(nursery, ["DATALOADER.NUM_WORKERS", 0])
    name = f"in_save_{number}"
    assert nursery.run(name, die_in_save=[number, share]) == -signal.SIGKILL
    folder = nursery.folder / name
    assert list(folder.glob(".model_*.tmp"))
    assert nursery.run(name, resume=True) == 0, nursery.console(name)
    assert not list(folder.glob(".*.tmp"))
    assert_equal_runs(folder, expected)


@pytest.mark.slow
@pytest.mark.parametrize("to_all", [True, False])
def test_signal_stops_two_processes_after_the_same_iteration(nursery, to_all):
    """Ctrl-C reaches all of them, `kill` the first one alone."""
    name = f"stopped_pair_{to_all}"
    child = nursery.start(name, _PAIR, processes=2, pause_at=3)
    wait_until((nursery.folder / name / "reached").exists)
    if to_all:
        os.killpg(child, signal.SIGINT)
    else:
        os.kill(child, signal.SIGTERM)
    assert nursery.wait() == (130 if to_all else 143), nursery.console(name)
    console = nursery.console(name)
    assert "Stopped after 5 of 50 iterations" in console
    assert "model_0000004.pth, give the same command with --resume, before" in console


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_saves_the_iteration_says_how_to_go_on_and_the_resume_is_exact(nursery, number):
    expected = unbroken(nursery, ["DATALOADER.NUM_WORKERS", 2])
    name = f"signal_{int(number)}"
    options = ["DATALOADER.NUM_WORKERS", 2]
    child = nursery.start(name, options, pause_at=17)
    wait_until((nursery.folder / name / "reached").exists)
    # To the workers too, as a terminal and most schedulers do.
    os.killpg(child, number)
    assert nursery.wait() == 128 + number, nursery.console(name)
    console = nursery.console(name)
    assert "Stopped after 18 of 50 iterations" in console
    assert "model_0000017.pth, give the same command with --resume, before" in console
    assert nursery.run(name, options, resume=True) == 0
    assert "going on at iteration 18" in nursery.console(name)
    assert_equal_runs(nursery.folder / name, expected)


def test_a_run_that_should_outlive_its_terminal_does(nursery):
    child = nursery.start("nohup", pause_at=17, by_nohup=True)
    wait_until((nursery.folder / "nohup" / "reached").exists)
    os.kill(child, signal.SIGHUP)
    assert nursery.wait() == 0, nursery.console("nohup")


def test_second_ctrl_c_stops_at_once_without_saving(nursery):
    child = nursery.start("twice", pause_at=17)
    wait_until((nursery.folder / "twice" / "reached").exists)
    os.kill(child, signal.SIGINT)
    time.sleep(0.1)
    os.kill(child, signal.SIGINT)
    assert nursery.wait() == 130
    assert "Stopped at once, without saving" in nursery.console("twice")
    assert not (nursery.folder / "twice" / "model_0000017.pth").exists()
