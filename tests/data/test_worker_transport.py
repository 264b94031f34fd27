"""Batches of workers on machines with little shared memory or few open files."""

import errno
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from d2lite.data.loading import worker_signals, worker_transport
from d2lite.data.loading.loader import ReportingLoader
from d2lite.structures import Boxes, Instances
from d2lite.utils.errors import DataError, StateError


class Photographs(torch.utils.data.Dataset):
    """Too large for the buffer of a pipe."""

    def __len__(self):
        return 100

    def __getitem__(self, index):
        return {"image": torch.zeros(3, 500, 500, dtype=torch.uint8)}


class Samples(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        if index == 3:
            raise DataError("the fourth is broken")
        target = Instances((8, 8), gt_boxes=Boxes(torch.ones(index, 4)))
        return {"image": torch.full((3, 8, 8), index, dtype=torch.uint8), "instances": target}


@pytest.mark.parametrize("lack", ["", "there is little of it"])
def test_batches_and_errors_are_the_same_by_either_way(monkeypatch, caplog, lack):
    monkeypatch.setattr("d2lite.data.loading.loader.lack_of_means", lambda: lack)
    worker_transport.log_pipes.cache_clear()
    loader = ReportingLoader(Samples(), num_workers=1, batch_size=1)
    got = []
    with pytest.raises(DataError, match="fourth is broken"):
        got.extend(loader)
    assert [float(batch[0]["image"].float().mean()) for batch in got] == [0, 1, 2]
    assert [len(batch[0]["instances"].gt_boxes) for batch in got] == [0, 1, 2]
    assert ("through pipes" in caplog.text) == bool(lack)


def test_little_shared_memory_is_named_with_the_option_of_a_container(monkeypatch):
    monkeypatch.setattr(worker_transport, "_LEAST_FILES", 0)
    small = SimpleNamespace(free=64 * 2**20)
    monkeypatch.setattr(worker_transport.shutil, "disk_usage", lambda _: small)
    assert "64 MB free" in worker_transport.lack_of_means()
    assert "--shm-size" in worker_transport.lack_of_means()
    small.free = 2**40
    assert worker_transport.lack_of_means() == ""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EMFILE, "Too many open files"), r"Too many.*ulimit -n"),
        (OSError(errno.EAGAIN, "Try again"), r"ulimit -u"),
        (RuntimeError("can't start new thread"), r"new thread.*ulimit -u"),
        (FileNotFoundError(errno.ENOENT, "No such file"), "Workers need /dev/shm"),
        (OSError(errno.EROFS, "Read-only file system"), "Workers need /dev/shm"),
    ],
)
def test_machine_that_refuses_workers_is_told_with_what_to_raise(error, words):
    with (
        pytest.raises(StateError, match=rf"2 workers.*{words}.*NUM_WORKERS 0"),
        worker_transport.naming_the_limit(2),
    ):
        raise error


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "no", "a file"), RuntimeError()])
def test_other_errors_at_the_start_of_workers_stay(error):
    with pytest.raises(type(error)), worker_transport.naming_the_limit(2):
        raise error


class NoThread:
    def __init__(self, **_):
        pass

    def start(self):
        raise RuntimeError("can't start new thread")


def begin_without_threads(after):
    """Body of a worker that may start only so many threads."""
    allowed = [worker_signals.threading.Thread] * after
    worker_signals.threading.Thread = lambda **kw: (allowed.pop() if allowed else NoThread)(**kw)
    worker_signals.lack_of_means = lambda: ""
    worker_signals.leave_signals_to_parent()
    time.sleep(60)


@pytest.mark.skipif(not hasattr(signal, "sigtimedwait"), reason="no thread watches the parent")
@pytest.mark.parametrize("after", [0, 1])
def test_worker_that_may_start_no_thread_ends(after):
    """With nobody to wait for SIGTERM, or to pass shared memory on, the program never ended."""
    worker = multiprocessing.get_context("fork").Process(
        target=begin_without_threads, args=(after,), daemon=True
    )
    worker.start()
    worker.join(20)
    code = worker.exitcode
    worker.kill()
    assert code == 1


def test_workers_deliver_where_few_files_may_be_open():
    pytest.importorskip("resource")
    code = (
        "import resource\n"
        "from tests.data.test_worker_transport import Samples\n"
        "from d2lite.data.loading.loader import ReportingLoader\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))\n"
        "rows = ReportingLoader(Samples(), num_workers=2, batch_size=2,\n"
        "    sampler=[0, 1, 2] * 20)\n"
        "print(sum(len(batch) for batch in rows))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.strip() == "60", done.stderr


_INTERRUPTED = """
import os, signal, threading
from d2lite.data.loading.loader import ReportingLoader

class Large(list):
    def __reduce__(self):
        # While a worker that is being started imports what it needs.
        threading.Timer(0.3, os.killpg, (0, signal.SIGINT)).start()
        return Large, (list(self), bytes(10**6))
    def __init__(self, rows, filling=b""):
        super().__init__(rows)

if __name__ == "__main__":
    told = []
    signal.signal(signal.SIGINT, lambda *_: told.append(1))
    rows = ReportingLoader(Large([1, 2, 3]), num_workers=1, batch_size=3,
        sampler=[0, 1, 2], multiprocessing_context="spawn")
    print([batch for batch in rows], len(told))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="Windows")
def test_ctrl_c_while_workers_start_leaves_them(tmp_path):
    """The worker ended with a trace, and the program waited for it for ever."""
    script = tmp_path / "script.py"
    script.write_text(_INTERRUPTED)
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        start_new_session=True,
    )
    assert (done.stdout, done.stderr) == ("[[1, 2, 3]] 1\n", "")


def begin_when_the_parent_is_gone():
    """Body of a worker that starts more slowly than its parent is killed."""
    parent = multiprocessing.parent_process().pid
    while os.getppid() == parent:
        time.sleep(0.01)
    worker_signals.leave_signals_to_parent()
    time.sleep(60)


@pytest.mark.skipif(not hasattr(signal, "sigtimedwait"), reason="no thread watches the parent")
def test_worker_whose_parent_was_killed_before_it_had_started_ends(monkeypatch):
    """It took the process that it was left to for its parent, and stayed for ever."""
    monkeypatch.setattr(worker_signals, "_LOOK_PERIOD", 0.05)
    reading, writing = os.pipe()
    parent = os.fork()
    if parent == 0:
        context = multiprocessing.get_context("fork")
        context.Process(target=begin_when_the_parent_is_gone).start()
        os._exit(0)
    os.waitpid(parent, 0)
    os.close(writing)
    # The pipe ends when no process has its other side any more.
    ended, _, _ = select.select([reading], [], [], 20)
    os.close(reading)
    assert ended


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes as Linux shows them")
def test_workers_with_unread_batches_end_after_the_process_that_trains_was_killed():
    """Seen in a soak: they waited for ever for somebody to read what filled their pipe."""
    code = (
        "import os\n"
        "from tests.data.test_worker_transport import Photographs\n"
        "from d2lite.data.loading import loader\n"
        "loader.lack_of_means = lambda: 'there is little of it'\n"
        "batches = iter(loader.ReportingLoader(Photographs(), num_workers=2, batch_size=2))\n"
        "next(batches)\n"
        "import multiprocessing\n"
        "print(*(worker.pid for worker in multiprocessing.active_children()), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    trained = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=90, check=False
    )
    workers = [Path(f"/proc/{number}") for number in trained.stdout.split()]
    assert len(workers) == 2
    deadline = time.monotonic() + 30
    while any(worker.exists() for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not any(worker.exists() for worker in workers)
