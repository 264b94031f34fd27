"""A second run must not overwrite the checkpoints of the first."""

import json
import os
import resource
import signal
import subprocess
import sys

import pytest

from d2lite.utils.errors import OutputError
from d2lite.utils.folder_lock import FolderLock

HOLD = """
import os, sys, time
from d2lite.utils.folder_lock import FolderLock
lock = FolderLock(sys.argv[1])
if os.fork() == 0:
    time.sleep(60)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_folder_of_another_process_is_refused_and_the_process_named(holder, tmp_path):
    with pytest.raises(OutputError, match=f"Another run is writing .* process {holder.pid} on "):
        FolderLock(tmp_path)


def test_killed_process_leaves_the_folder_free_though_its_child_lives_on(holder, tmp_path):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    lock = FolderLock(tmp_path)
    assert json.loads(lock.path.read_text())["pid"] == os.getpid()
    lock.release()


def test_released_folder_has_no_file_of_the_lock(tmp_path):
    lock = FolderLock(tmp_path)
    assert lock.path.is_file()
    lock.release()
    lock.release()
    assert not lock.path.exists()


def test_lock_holds_where_its_file_cannot_grow(tmp_path):
    """On a full disk it is taken, though it cannot name its owner."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        lock = FolderLock(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert lock.path.read_text() == ""
    lock.release()
    assert not lock.path.exists()


def test_trainers_of_one_process_share_the_folder(tmp_path):
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    second.release()
    first.release()
    assert not first.path.exists()


def test_file_of_a_lock_that_cannot_be_read_is_still_a_lock(holder, tmp_path):
    (tmp_path / "run.lock").write_bytes(b"\xff{")
    with pytest.raises(OutputError, match=r"see run\.lock there"):
        FolderLock(tmp_path)


@pytest.mark.parametrize(
    "put", [os.mkfifo, os.mkdir, lambda path: path.symlink_to(path)], ids=["pipe", "folder", "loop"]
)
def test_what_is_no_file_in_place_of_the_lock_is_named(put, tmp_path):
    put(tmp_path / "run.lock")
    with pytest.raises(OutputError, match=r"Cannot open .*run\.lock.*another OUTPUT_DIR"):
        FolderLock(tmp_path)
