"""IterationTimer, TorchMemoryStats: the time and the GPU memory that steps need."""

import datetime
import logging
import time

import torch

from d2lite.engine.trainer_base import HookBase

from .period import is_due

logger = logging.getLogger(__name__)


class IterationTimer(HookBase):
    """Writes the scalar "time" (seconds a step) and logs the totals at the end.

    Register it before all hooks that work around a step: the time runs from its `before_step` to
    its `after_step`, so that what later hooks do after the step is counted as time of hooks.
    """

    def __init__(self, warmup_iter: int = 3) -> None:
        """Make a hook.

        Args:
            warmup_iter: steps at the beginning that are not counted in the totals, as they
                allocate and compile. "time" is written from the last of them on.
        """
        self._warmup_iter = warmup_iter
        self._train_start: float | None = None
        self._counting_start: float | None = None
        self._step_start: float | None = None
        self._step_seconds = 0.0
        self._num_steps = 0

    def before_train(self) -> None:
        """Start the clock of the whole run."""
        self._train_start = time.perf_counter()
        self._counting_start = None
        self._step_seconds = 0.0
        self._num_steps = 0

    def before_step(self) -> None:
        """Start the clock of the step."""
        self._step_start = time.perf_counter()
        if self._counting_start is None and self._is_counted():
            self._counting_start = self._step_start

    def after_step(self) -> None:
        """Stop the clock of the step, and write it."""
        if self._step_start is None:
            return
        seconds = time.perf_counter() - self._step_start
        if self._is_counted():
            self._step_seconds += seconds
            self._num_steps += 1
        if self.trainer.iter + 1 >= self.trainer.start_iter + self._warmup_iter:
            self.trainer.storage.put_scalars(time=seconds)

    def after_train(self) -> None:
        """Log the speed, and how much of the time went into hooks."""
        if self._train_start is None:
            return
        now = time.perf_counter()
        if self._num_steps and self._counting_start is not None:
            per_step = self._step_seconds / self._num_steps
            logger.info(
                f"Speed: {self._num_steps} iterations in {_clock(self._step_seconds)} "
                f"({per_step:.4f} s / it)"
            )
            in_hooks = now - self._counting_start - self._step_seconds
            total = now - self._train_start
            logger.info(f"Training time: {_clock(total)} ({_clock(in_hooks)} of it on hooks)")

    def _is_counted(self) -> bool:
        return self.trainer.iter >= self.trainer.start_iter + self._warmup_iter


class TorchMemoryStats(HookBase):
    """Logs what torch's CUDA allocator holds, at a period, for the first few times."""

    def __init__(self, period: int = 20, max_runs: int = 10) -> None:
        """Make a hook.

        Args:
            period: steps between two log lines.
            max_runs: number of lines after which it logs no more.
        """
        self._period = period
        self._runs_left = max_runs

    def after_step(self) -> None:
        """Log when the period is over, and after the last step."""
        is_wanted = self._runs_left > 0 and torch.cuda.is_available()
        if not (is_wanted and is_due(self.trainer, self._period)):
            return
        figures = {
            "allocated": torch.cuda.memory_allocated(),
            "allocated at most": torch.cuda.max_memory_allocated(),
            "reserved": torch.cuda.memory_reserved(),
            "reserved at most": torch.cuda.max_memory_reserved(),
        }
        text = ", ".join(f"{name} {size / 2**20:.0f} MiB" for name, size in figures.items())
        logger.info(f"GPU memory after iteration {self.trainer.iter}: {text}")
        self._runs_left -= 1
        if self._runs_left == 0:
            logger.info("Peak use of GPU memory:\n" + torch.cuda.memory_summary())
        torch.cuda.reset_peak_memory_stats()


def _clock(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))
