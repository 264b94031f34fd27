"""What processes leave that end while they start."""

import subprocess
import sys

import pytest

_KILLED = """
import multiprocessing, os, signal
from d2lite.utils.interrupts import interrupts_held_back
with interrupts_held_back():
    context = multiprocessing.get_context("spawn")
print(os.environ.get("PYTHONWARNINGS"), flush=True)
kept = context.Semaphore()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize("filters", [None, "default"])
def test_what_a_killed_process_leaves_is_removed_without_a_warning(monkeypatch, filters):
    monkeypatch.delenv("PYTHONWARNINGS", raising=False)
    if filters:
        monkeypatch.setenv("PYTHONWARNINGS", filters)
    done = subprocess.run(
        [sys.executable, "-c", _KILLED], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout.strip() == str(filters)
    assert done.stderr == ""
