"""launch: several processes as one, and a failure in one is the failure of all, told once."""

import os
import pickle
import time
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist

from d2lite.engine.launch import launch
from d2lite.utils import comm
from d2lite.utils.errors import ConfigError, DeviceError


def talk(folder, extra):
    """Exercise all of comm in each of two processes and leave what came back in a file."""
    rank = comm.get_rank()
    mine = {"b": torch.tensor(float(rank)), "a": torch.tensor([1.0, 2.0]) * (rank + 1)}
    if rank:
        mine = dict(reversed(mine.items()))
    heard = {
        "local": (comm.get_local_rank(), comm.get_local_size()),
        "gather": comm.gather({"rank": rank}, dst=1),
        "all_gather": comm.all_gather("x" * (rank + 1)),
        "seed": comm.shared_random_seed(),
        "mean": {k: v.tolist() for k, v in comm.reduce_dict(mine).items()},
        "sum": {k: v.tolist() for k, v in comm.reduce_dict(mine, average=False).items()},
        "untouched": mine["a"].tolist(),
        "extra": extra,
    }
    (folder / str(rank)).write_bytes(pickle.dumps(heard))


def fail(kind):
    """Rank 1 fails while rank 0 waits for it."""
    if comm.get_rank() == 1:
        if kind == "user":
            raise ConfigError("SOLVER.X is wrong.\nMend it.")
        if kind == "kill":
            os.kill(os.getpid(), 9)
        raise ZeroDivisionError("deep inside")
    comm.synchronize()


def test_two_processes_hear_each_other(tmp_path):
    launch(talk, 2, dist_url="auto", args=(tmp_path, 7), timeout=timedelta(seconds=60))
    first, second = (pickle.loads((tmp_path / str(rank)).read_bytes()) for rank in (0, 1))
    assert (first["local"], second["local"]) == ((0, 2), (1, 2))
    assert (first["gather"], second["gather"]) == ([], [{"rank": 0}, {"rank": 1}])
    assert first["all_gather"] == second["all_gather"] == ["x", "xx"]
    assert first["seed"] == second["seed"]
    assert first["mean"] == {"a": [1.5, 3.0], "b": 0.5}
    assert first["sum"] == {"a": [3.0, 6.0], "b": 1.0}
    assert second["untouched"] == [2.0, 4.0]
    assert first["extra"] == second["extra"] == 7
    assert not dist.is_initialized()


@pytest.mark.parametrize(
    ("kind", "error", "text"),
    [
        ("user", ConfigError, r"^SOLVER\.X is wrong\.\nMend it\.$"),
        ("bug", RuntimeError, r"(?s)Rank 1 of 2 failed.*in fail.*ZeroDivisionError: deep inside"),
        ("kill", RuntimeError, r"Process 1 .*SIGKILL.*out of memory"),
    ],
)
def test_a_failure_of_one_process_ends_all_and_is_told(kind, error, text):
    """Without this, rank 0 would wait half an hour for a process that is gone."""
    start = time.monotonic()
    with pytest.raises(error, match=text) as raised:
        launch(fail, 2, args=(kind,))
    assert time.monotonic() - start < 60
    if kind == "user":
        assert "Rank 1 of 2 failed" in str(raised.value.__cause__)


def test_one_process_runs_here_without_a_group():
    assert launch(lambda x: (x, dist.is_initialized()), 1, args=(5,)) == (5, False)


def test_a_process_started_by_torchrun_joins_its_group(monkeypatch):
    for key, value in {
        "RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "0",
    }.items():
        monkeypatch.setenv(key, value)
    assert launch(lambda: (dist.is_initialized(), comm.get_local_size()), 1) == (True, 1)
    with pytest.raises(ZeroDivisionError):
        launch(lambda: 1 / 0, 1)
    assert not dist.is_initialized()


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


def test_more_gpus_than_there_are_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(DeviceError, match=r"--num-gpus 3, but this machine has 2"):
        launch(print, 3)
