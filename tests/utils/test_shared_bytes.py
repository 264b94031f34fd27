"""Bytes that processes of a machine keep once."""

import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from d2lite.utils import shared_bytes
from d2lite.utils.shared_bytes import SharedBytes

pytest.importorskip("fcntl", reason="files are shared where they can be locked")

CONTENT = bytes(range(256)) * 2**13


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder for temporary files; the one that the files come to."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path / f"d2lite-{os.getuid()}"


def test_equal_bytes_have_one_file_which_goes_with_the_last_of_them(folder):
    first, second = SharedBytes(bytearray(CONTENT)), SharedBytes(CONTENT)
    other = SharedBytes(CONTENT[1:])
    assert first.view == second.view == CONTENT
    assert first.path == second.path != other.path
    assert sorted(folder.iterdir()) == sorted([first.path, other.path])
    path = first.path
    del first, other
    gc.collect()
    assert list(folder.iterdir()) == [path]
    del second
    gc.collect()
    assert not list(folder.iterdir())


def test_processes_that_write_it_at_the_same_time_use_one_file(folder, monkeypatch):
    """The processes of a training start together, so each of them may find the file missing."""
    first = SharedBytes(CONTENT)
    monkeypatch.setattr(Path, "exists", lambda path: False)
    inode = first.path.stat().st_ino
    assert SharedBytes(CONTENT).path == first.path
    assert first.path.stat().st_ino == inode
    assert list(folder.iterdir()) == [first.path]


def test_few_bytes_have_no_file(folder):
    shared = SharedBytes(b"abc")
    assert (shared.path, bytes(shared.view), len(shared)) == (None, b"abc", 3)
    assert bytes(pickle.loads(pickle.dumps(shared)).view) == b"abc"
    assert not folder.exists()


_USE = """
import sys
from d2lite.utils.shared_bytes import SharedBytes
shared = SharedBytes(bytes(range(256)) * 2**13)
print(shared.path, flush=True)
sys.stdin.read()
"""


def start_user():
    """Another process with the same bytes, and its file."""
    process = subprocess.Popen(
        [sys.executable, "-c", _USE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    return process, Path(process.stdout.readline().strip())


def end(process):
    process.stdin.close()
    process.wait(30)
    process.stdout.close()


def test_processes_that_know_nothing_of_each_other_map_one_file(folder):
    process, path = start_user()
    shared = SharedBytes(CONTENT)
    assert shared.path == path
    end(process)
    assert path.exists()
    del shared
    gc.collect()
    assert not path.exists()


def test_what_a_killed_process_left_is_removed_by_the_next_one(folder):
    process, path = start_user()
    process.send_signal(signal.SIGKILL)
    end(process)
    assert path.exists()
    (folder / "half.tmp").write_bytes(b"a writer was killed")
    shared = SharedBytes(CONTENT[1:])
    assert list(folder.iterdir()) == [shared.path]


def _length(shared, found):
    found.put((len(shared), shared.path, os.getpid()))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_process_uses_the_file_and_leaves_it(folder, method):
    shared = SharedBytes(CONTENT)
    context = multiprocessing.get_context(method)
    found = context.SimpleQueue()
    process = context.Process(target=_length, args=(shared, found))
    process.start()
    assert found.get()[:2] == (len(CONTENT), shared.path)
    process.join(30)
    assert shared.path.exists()


def test_a_pickle_is_complete_without_the_file(folder):
    """People keep datasets in files and send them to other machines."""
    shared = SharedBytes(CONTENT)
    pickled, path = pickle.dumps(shared), shared.path
    del shared
    gc.collect()
    assert not path.exists()
    assert pickle.loads(pickled).view == CONTENT


def test_a_folder_that_others_can_write_to_is_not_used(folder):
    """Its files are unpickled, so a file of somebody else would be run."""
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    shared = SharedBytes(CONTENT)
    assert (shared.path, shared.view) == (None, CONTENT)


def test_a_full_disk_costs_the_sharing_alone(folder, monkeypatch):
    def refuse(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shared_bytes, "_write", refuse)
    shared = SharedBytes(CONTENT)
    assert (shared.path, shared.view) == (None, CONTENT)


def test_a_file_that_goes_while_it_is_opened_is_written_again(folder, monkeypatch):
    kept = SharedBytes(CONTENT)
    path, inode = kept.path, kept.path.stat().st_ino
    locked = []

    def lock(file, kind):
        if not locked:
            locked.append(path.unlink())
        return shared_bytes_flock(file, kind)

    shared_bytes_flock = shared_bytes.fcntl.flock
    monkeypatch.setattr(shared_bytes.fcntl, "flock", lock)
    shared = SharedBytes(CONTENT)
    assert shared.path == path
    assert path.stat().st_ino != inode
    assert time.time() - path.stat().st_mtime < 60
