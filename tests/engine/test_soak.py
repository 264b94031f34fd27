"""Two thousand steps with workers, evaluations and averaged weights: nothing grows."""

import ctypes
import gc
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from d2lite.engine import DefaultTrainer, HookBase, setup_cfg
from tests.tools.conftest import TINY

STEPS = 2000
# Caches fill and the allocator settles in these: the evaluation after 500 steps takes another
# 100 MiB, and what it left is filled until about step 900.
WARM_UP = 1000
# Of what the allocator keeps; it moves by 5 % as blocks are split and joined. A leaked image of
# 64 x 64 would take 12.
MAX_KIB_PER_STEP = 4.0
# Of what is in use.
MAX_GROWTH = 0.01


def resident_kib(process_id: int) -> int:
    """Memory of a process in KiB; what n processes share counts as one n-th for each.

    Loader workers are forked: pages that they share with this process become its own when one of
    them writes, without more memory being taken. So only the sum over all of them tells.
    """
    lines = Path(f"/proc/{process_id}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


class _HeapCounts(ctypes.Structure):
    """What glibc's mallinfo2 returns."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def used_kib() -> int:
    """KiB that this process has allocated and not freed; 0 where the C library does not say."""
    count = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if count is None:
        return 0
    count.restype = _HeapCounts
    gc.collect()
    found = count()
    return int(found.uordblks + found.hblkhd) // 1024


def children() -> list[int]:
    listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(process_id) for process_id in listed]


class MemoryLog(HookBase):
    """Notes memory, open files and threads every 50 steps; memory with the loader workers'."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.kib: list[int] = []
        self.used: list[int] = []
        self.files: list[int] = []
        self.threads: list[int] = []

    def after_step(self) -> None:
        if (self.trainer.iter + 1) % 50 == 0:
            self.steps.append(self.trainer.iter)
            self.kib.append(sum(map(resident_kib, [os.getpid(), *children()])))
            self.used.append(used_kib())
            self.files.append(len(os.listdir("/proc/self/fd")))
            self.threads.append(len(os.listdir("/proc/self/task")))

    def slope(self) -> float:
        """KiB a step, by least squares after the warm-up."""
        steps, kib = np.array(self.steps), np.array(self.kib, dtype=float)
        late = steps >= WARM_UP
        return float(np.polyfit(steps[late], kib[late], 1)[0])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's /proc")
def test_memory_stays_flat_over_two_thousand_steps(tmp_path, capsys):
    options = dict(zip(TINY[::2], TINY[1::2], strict=True))
    options |= {
        "SOLVER.MAX_ITER": str(STEPS),
        "SOLVER.CHECKPOINT_PERIOD": "500",
        "SOLVER.CHECKPOINT_MAX_TO_KEEP": "1",
        "TEST.EVAL_PERIOD": "500",
        "DATALOADER.NUM_WORKERS": "2",
        "MODEL_EMA.ENABLED": "True",
        "OUTPUT_DIR": str(tmp_path),
    }
    torch.manual_seed(0)
    cfg = setup_cfg("quick_start.yaml", [word for pair in options.items() for word in pair])
    threads = set(threading.enumerate())
    trainer = DefaultTrainer(cfg)
    log = MemoryLog()
    trainer.register_hooks([log])
    trainer.train()
    slope = log.slope()
    with capsys.disabled():
        print(f"\nmemory: {log.kib[0]} -> {log.kib[-1]} KiB ({slope:+.2f} KiB a step); {log.kib}")
        print(f"in use: {log.used}")
        print(f"open files: {log.files}\nthreads: {log.threads}")
    assert slope < MAX_KIB_PER_STEP
    late = len(log.steps) // 2
    assert max(log.used[late:]) <= (1 + MAX_GROWTH) * log.used[late]
    # The workers' queues and a checkpoint that is being written come and go.
    assert max(log.files[late:]) <= max(log.files[:late])
    assert max(log.threads[late:]) <= max(log.threads[:late])
    assert {thread.name for thread in threading.enumerate() if thread not in threads} == set()
