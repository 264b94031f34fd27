"""Ctrl-C while a program is still loading: one line and status 130, at whatever moment."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def interrupt(folder: Path, delay: float, *words: str) -> tuple[int, str]:
    """Status and output of a training that gets Ctrl-C, as a terminal sends it, after a delay."""
    command = [sys.executable, "-X", "importtime", "tools/train_net.py", *words]
    process = subprocess.Popen(
        [*command, "--config-file", "quick_start.yaml", "OUTPUT_DIR", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
        # A shell's background job ignores Ctrl-C, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    # Before this line nothing of ours has been loaded.
    for line in process.stderr:
        if "d2lite.utils.run_tool" in line:
            break
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGINT)
    try:
        output = process.communicate(timeout=60)[1].splitlines(keepends=True)
    finally:
        process.kill()
    return process.returncode, "".join(s for s in output if not s.startswith("import time:"))


@pytest.mark.parametrize("delay", [0.2, 0.5, 1.0, 1.5])
def test_ctrl_c_during_an_import_ends_the_program_with_one_line(delay, tmp_path):
    assert interrupt(tmp_path, delay) == (130, "Interrupted.\n")


@pytest.mark.slow
@pytest.mark.parametrize("delay", range(2, 16, 2))
def test_ctrl_c_during_the_start_of_two_processes_ends_all_without_a_trace(delay, tmp_path):
    status, output = interrupt(tmp_path, delay, "--num-gpus", "2")
    assert status == 130
    assert "Traceback" not in output
