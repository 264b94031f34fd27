"""What the processes of the launch tests run; light modules, so that starting them is quick."""

import atexit
import ctypes
import os
import pickle
import signal
import time
from pathlib import Path

import torch

from d2lite.engine.launch import launch
from d2lite.engine.launching.stop_signals import listen_for_stop
from d2lite.utils import comm
from d2lite.utils.errors import ConfigError, RunInterrupted, UserError


def talk(folder: Path, extra: object) -> None:
    """Exercise all of comm in each of two processes and leave what came back in a file."""
    rank = comm.get_rank()
    mine = {"b": torch.tensor(float(rank)), "a": torch.tensor([1.0, 2.0]) * (rank + 1)}
    if rank:
        mine = dict(reversed(mine.items()))
    norms = torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(1))
    for buffer in norms.buffers():
        buffer.fill_(rank + 3)
    comm.share_buffers(norms)
    heard = {
        "local": (comm.get_local_rank(), comm.get_local_size()),
        "gather": comm.gather({"rank": rank}, dst=1),
        "all_gather": comm.all_gather("x" * (rank + 1)),
        "seed": comm.shared_random_seed(),
        "mean": {k: v.tolist() for k, v in comm.reduce_dict(mine).items()},
        "sum": {k: v.tolist() for k, v in comm.reduce_dict(mine, average=False).items()},
        "untouched": mine["a"].tolist(),
        "buffers": [buffer.flatten().tolist() for buffer in norms.buffers()],
        "extra": extra,
    }
    (folder / str(rank)).write_bytes(pickle.dumps(heard))


def talk_and_fail(folder: Path, kind: str) -> None:
    """Rank 1 fails after the talk, while rank 0 waits for it."""
    talk(folder, kind)
    if comm.get_rank() == 1:
        if kind == "user":
            raise ConfigError("SOLVER.X is wrong.\nMend it.")
        if kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ZeroDivisionError("deep inside")
    comm.synchronize()


def end_and_abort(folder: Path, kind: str) -> None:
    """Leave threads of C++ behind, as a group does that is not left: they abort the process."""
    library = ctypes.CDLL(None)
    library.__cxa_atexit(library.abort, None, None)
    atexit.register((folder / f"handler{comm.get_rank()}").touch)
    comm.synchronize()
    if kind == "stop":
        raise RunInterrupted("Saved at iteration 7.", signal.SIGTERM)
    if kind == "bug" and comm.get_rank() == 1:
        raise ZeroDivisionError("deep inside")
    comm.synchronize()


def load_for_long(folder: Path) -> None:
    """Read data before the training, with the handlers that a new process has."""
    (folder / f"loads{comm.get_rank()}").touch()
    time.sleep(60)


def stop_when_told(folder: Path) -> None:
    """What a training does at SIGTERM: finish the step, save, leave with a message."""
    heard: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    comm.synchronize()
    if comm.is_main_process():
        (folder / "ready").touch()
    while not heard:
        time.sleep(0.02)
    raise RunInterrupted("Saved at iteration 7.", signal.SIGTERM)


def hang_beside_a_killed_rank(folder: Path) -> None:
    """Rank 0 is in C code, as in a collective of nccl, where Python handles no signals."""
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    comm.synchronize()
    if comm.get_rank() == 1:
        (folder / "killed").write_text(str(time.time()))
        os.kill(os.getpid(), signal.SIGKILL)
    for _ in range(9):  # a signal interrupts one of them
        ctypes.CDLL(None).sleep(60)


def train_until_interrupted(folder: Path) -> None:
    """Ignore the clock; save when Ctrl-C comes, once, as a training does."""
    received: list[int] = []
    with listen_for_stop(received.append):
        comm.synchronize()
        (folder / f"pid{comm.get_rank()}").write_text(str(os.getpid()))
        while not received:
            time.sleep(0.02)
        time.sleep(0.5)
        comm.synchronize()
        (folder / f"saved{comm.get_rank()}").touch()
    raise RunInterrupted("Saved at iteration 9.", received[0])


def launch_and_report(function, folder: Path, *numbers: object) -> None:
    """Body of a launcher in a process of its own: leave how it ended in a file."""
    number = numbers[2] if len(numbers) > 2 else 0
    try:
        launch(function, *numbers, args=(folder,))
        ending = ("", "")
    except (RunInterrupted, UserError, RuntimeError) as error:
        ending = (type(error).__name__, str(error))
    (folder / f"ending{number}").write_bytes(pickle.dumps(ending))


def fail_on_the_second_machine(folder: Path) -> None:
    """Rank 1 is the only process of machine 1."""
    if comm.get_rank() == 1:
        raise ZeroDivisionError("on the other machine")
    comm.synchronize()
    time.sleep(600)
