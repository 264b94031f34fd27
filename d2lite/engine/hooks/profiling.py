"""TorchProfiler: records traces of chosen steps."""

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from d2lite.engine.trainer_base import HookBase
from d2lite.utils import comm

logger = logging.getLogger(__name__)

# Rows of the table in the log: the steps spend nearly all of their time in the first dozen.
_TABLE_ROWS = 12


class TorchProfiler(HookBase):
    """Runs torch.profiler over the steps that a predicate names and writes their traces.

    A trace opens in chrome://tracing, in Perfetto, or in TensorBoard's profiler plug-in. The
    most expensive operations are also listed in the log. Recording slows a step down.

        TorchProfiler(lambda trainer: 10 <= trainer.iter < 13, cfg.OUTPUT_DIR)
    """

    def __init__(
        self,
        enable_predicate: Callable[[Any], bool],
        output_dir: str | os.PathLike[str],
        *,
        activities: Iterable[ProfilerActivity] | None = None,
        save_tensorboard: bool = True,
    ) -> None:
        """Make a hook.

        Args:
            enable_predicate: takes the trainer, returns whether to record the next step.
            output_dir: where the traces go.
            activities: CPU and CUDA if not given.
            save_tensorboard: write to `output_dir`/log, as TensorBoard's plug-in expects it,
                rather than to `output_dir` itself.
        """
        self._is_wanted = enable_predicate
        self._folder = Path(output_dir) / "log" if save_tensorboard else Path(output_dir)
        # The plug-in knows its files by this ending.
        self._ending = ".pt.trace.json" if save_tensorboard else ".json"
        self._activities = list(activities) if activities is not None else _default_activities()
        self._recording: profile | None = None

    def before_step(self) -> None:
        """Begin to record, if the predicate says so."""
        if self._is_wanted(self.trainer):
            self._recording = profile(
                activities=self._activities,
                record_shapes=True,
                profile_memory=True,
                with_stack=True,
                with_flops=True,
            )
            self._recording.start()

    def after_step(self) -> None:
        """Stop recording, write the trace and log the table."""
        if self._recording is None:
            return
        recording, self._recording = self._recording, None
        recording.stop()
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"profiler-trace-iter{self.trainer.iter}-rank{comm.get_rank()}{self._ending}"
        recording.export_chrome_trace(str(self._folder / name))
        uses_gpu = ProfilerActivity.CUDA in self._activities
        table = recording.key_averages().table(
            sort_by="self_device_time_total" if uses_gpu else "self_cpu_time_total",
            row_limit=_TABLE_ROWS,
            max_name_column_width=50,
        )
        logger.info(f"Trace of iteration {self.trainer.iter}: {self._folder / name}\n{table}")

    def after_train(self) -> None:
        """Give up a recording whose step raised."""
        if self._recording is not None:
            recording, self._recording = self._recording, None
            recording.stop()


class AutogradProfiler(TorchProfiler):
    """The old name and arguments of TorchProfiler; the traces go to `output_dir` itself."""

    def __init__(
        self,
        enable_predicate: Callable[[Any], bool],
        output_dir: str | os.PathLike[str],
        *,
        use_cuda: bool = True,
    ) -> None:
        """Make a hook.

        Args:
            enable_predicate: takes the trainer, returns whether to record the next step.
            output_dir: where the traces go.
            use_cuda: record the GPU too, where there is one.
        """
        activities = _default_activities() if use_cuda else [ProfilerActivity.CPU]
        super().__init__(
            enable_predicate, output_dir, activities=activities, save_tensorboard=False
        )


def _default_activities() -> list[ProfilerActivity]:
    has_gpu = torch.cuda.is_available()
    return [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if has_gpu else [])]
