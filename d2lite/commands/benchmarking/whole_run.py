"""A whole run in small: steps with data from the loader, then an evaluation."""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from d2lite.config import CfgNode
from d2lite.engine import DefaultTrainer, HookBase

from .clock import PhaseClock, Side
from .our_side import NAME, time_phases

__all__ = ["run_whole"]


class _Record(HookBase):
    """Takes the phases of each step from the clock."""

    def __init__(self, clock: PhaseClock, warmup: int, side: Side) -> None:
        self._clock, self._warmup, self._side = clock, warmup, side
        self._last = time.perf_counter()

    def after_step(self) -> None:
        """Note the step, unless it belongs to the warm-up."""
        now = time.perf_counter()
        whole, self._last = now - self._last, now
        seconds = self._clock.take()
        # Checks, hooks and writers; those of the step before, as far as they follow this hook.
        seconds["other"] = whole - sum(seconds.values())
        seconds["whole"] = whole
        if self.trainer.iter - self.trainer.start_iter >= self._warmup:
            for phase, value in seconds.items():
                self._side.samples.setdefault(phase, []).append(value)


def run_whole(cfg: CfgNode, *, warmup: int, repeats: int) -> tuple[Side, dict[str, Any]]:
    """Train some steps on DATASETS.TRAIN, then evaluate on DATASETS.TEST, if that is set.

    Args:
        cfg: a config that trains; its OUTPUT_DIR is not used.
        warmup: steps that are not counted.
        repeats: steps that are.

    Returns:
        The side of d2lite, with a sample for each step; and for the evaluation its seconds and the
        share of the step that waits for data.
    """
    steps = warmup + repeats
    with tempfile.TemporaryDirectory() as folder:
        test_sets = tuple(cfg.DATASETS.TEST)
        cfg.merge_from_list(["OUTPUT_DIR", folder, "SOLVER.MAX_ITER", steps, "SOLVER.STEPS", ()])
        cfg.merge_from_list(["TEST.EVAL_PERIOD", 0, "DATASETS.TEST", ()])
        trainer = DefaultTrainer(cfg)
        if cfg.MODEL.WEIGHTS and Path(cfg.MODEL.WEIGHTS).is_file():
            trainer.resume_or_load(resume=False)
        clock = PhaseClock(trainer.cfg.MODEL.DEVICE)
        time_phases(trainer._trainer, clock)
        side = Side(NAME, dict)
        trainer.register_hooks([_Record(clock, warmup, side)])
        trainer.train()
        more: dict[str, Any] = {
            "data_share": statistics.median(side.samples["data"]) / side.median(),
        }
        if test_sets:
            cfg = trainer.cfg.clone()
            cfg.defrost()
            cfg.merge_from_list(["DATASETS.TEST", test_sets])
            started = time.perf_counter()
            DefaultTrainer.test(cfg, trainer.model)
            side.samples["evaluation"] = [time.perf_counter() - started]
    return side, more
