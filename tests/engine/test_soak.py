"""Two thousand steps with loader workers and evaluations: memory stays where it was."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from d2lite.engine import DefaultTrainer, HookBase, setup_cfg
from tests.tools.conftest import TINY

STEPS = 2000
# Caches fill and the allocator settles in these.
WARM_UP = 600
# Loss histories and the like take some; a leaked image of 64 x 64 would take 12.
MAX_KIB_PER_STEP = 4.0


def private_kib(process_id: int) -> int:
    """Memory that a process has for itself alone, in KiB."""
    lines = Path(f"/proc/{process_id}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def children() -> list[int]:
    listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(process_id) for process_id in listed]


class MemoryLog(HookBase):
    """Notes the memory of this process and of its loader workers every 50 steps."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.own: list[int] = []
        self.workers: list[int] = []

    def after_step(self) -> None:
        if (self.trainer.iter + 1) % 50 == 0:
            self.steps.append(self.trainer.iter)
            self.own.append(private_kib(os.getpid()))
            self.workers.append(sum(private_kib(child) for child in children()))

    def slope(self, values: list[int]) -> float:
        """KiB a step, by least squares behind the warm-up."""
        steps, kib = np.array(self.steps), np.array(values, dtype=float)
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
        "OUTPUT_DIR": str(tmp_path),
    }
    torch.manual_seed(0)
    cfg = setup_cfg("quick_start.yaml", [word for pair in options.items() for word in pair])
    trainer = DefaultTrainer(cfg)
    log = MemoryLog()
    trainer.register_hooks([log])
    trainer.train()
    own, workers = log.slope(log.own), log.slope(log.workers)
    with capsys.disabled():
        print(
            f"\nmemory: main {log.own[0]} -> {log.own[-1]} KiB ({own:+.2f} KiB a step), "
            f"workers {log.workers[0]} -> {log.workers[-1]} KiB ({workers:+.2f} KiB a step)"
        )
    assert own < MAX_KIB_PER_STEP
    assert workers < MAX_KIB_PER_STEP
