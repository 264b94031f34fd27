"""Hooks that save: PeriodicCheckpointer at a period, BestCheckpointer at the best metric."""

import copy
import logging
import math
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from d2lite.checkpoint import Checkpointer
from d2lite.checkpoint import PeriodicCheckpointer as PeriodicSaver
from d2lite.engine.trainer_base import HookBase
from d2lite.utils import comm
from d2lite.utils.errors import OutputError

from .metric import MetricHook
from .period import is_last_step, period_ends

logger = logging.getLogger(__name__)


def _save_or_log(
    checkpointer: Checkpointer, name: str, *, stops_run: bool, iteration: int, **kwargs: Any
) -> bool:
    """Save; a file that cannot be written is logged, or ends the run if `stops_run`."""
    try:
        checkpointer.save(name, iteration=iteration, **kwargs)
    except OutputError as error:
        if stops_run:
            raise
        logger.error(
            f"The checkpoint {name}.pth of iteration {iteration} was not saved: {error} Older "
            "files are complete, and the run continues; SOLVER.STOP_ON_SAVE_ERROR True would end it"
        )
        return False
    return True


class PeriodicCheckpointer(PeriodicSaver, HookBase):
    """Saves every `period` steps, after the last one, and where the run is asked to stop.

    Attributes:
        saved_iter: the step of the last checkpoint; None before the first one.
    """

    def __init__(
        self,
        checkpointer: Checkpointer,
        period: int,
        max_iter: int | None = None,
        max_to_keep: int | None = None,
        file_prefix: str = "model",
        *,
        stops_run: bool = False,
    ) -> None:
        """Make a hook.

        Args:
            checkpointer: does the saving.
            period: steps between two checkpoints.
            max_iter: number of steps of the run; that of the trainer when training begins.
            max_to_keep: how many of the newest periodic checkpoints stay; None keeps all.
            file_prefix: first part of the file names.
            stops_run: whether a save that fails ends the run; otherwise it is logged.
        """
        super().__init__(checkpointer, period, max_iter, max_to_keep, file_prefix)
        self.stops_run = stops_run
        self.saved_iter: int | None = None
        self._is_final_missing = False

    def before_train(self) -> None:
        """Note where the run ends."""
        self.max_iter = self.trainer.max_iter

    def after_step(self) -> None:
        """Save when the period is over, after the last step, and before the run stops."""
        iteration = self.trainer.iter
        self.step(iteration)
        if self.trainer.is_stopping and self.saved_iter != iteration:
            self.save(f"{self.file_prefix}_{iteration:07d}", iteration=iteration)
            self._delete_old(iteration)

    def save(self, name: str, **kwargs: Any) -> None:
        """Save as NAME.pth."""
        is_saved = _save_or_log(self.checkpointer, name, stops_run=self.stops_run, **kwargs)
        if is_saved:
            self.saved_iter = kwargs["iteration"]
        if name == f"{self.file_prefix}_final":
            self._is_final_missing = not is_saved

    def after_train(self) -> None:
        """Save the final weights if another hook ended the run early, or if saving them failed.

        Raises:
            OutputError: if the final weights cannot be saved there. The text names the file in the
                folder of temporary files that has them, if there is room.
        """
        trainer = self.trainer
        is_finished = trainer.iter >= trainer.max_iter
        is_ended_early = self.max_iter is not None and trainer.max_iter < self.max_iter
        if is_finished and (is_ended_early or self._is_final_missing):
            self.stops_run = True
            try:
                self.save(f"{self.file_prefix}_final", iteration=trainer.max_iter - 1)
            except OutputError as error:
                raise self._saved_elsewhere(error) from error

    def _saved_elsewhere(self, error: OutputError) -> OutputError:
        """The error, with the place where the weights are instead, so that no training is lost."""
        other, name = copy.copy(self.checkpointer), f"{self.file_prefix}_final"
        folder = ""
        with suppress(OSError):
            folder = tempfile.mkdtemp(prefix="d2lite_") if other.save_to_disk else ""
        if other.collect is not None:
            # All processes have the error, and one of them writes.
            folder = comm.all_gather(folder)[0]
        if not folder:
            return error
        try:
            other.save_dir = folder
            other.save(name, iteration=self.trainer.max_iter - 1)
        except (OSError, OutputError):
            return error
        path = Path(other.save_dir) / f"{name}.pth"
        return OutputError(
            f"{error} The trained model is in {path} instead: move it before that folder of "
            f"temporary files is emptied; --resume {path} goes on from it."
        )


class BestCheckpointer(MetricHook):
    """Saves the model whenever a metric is better than at any time before in the run."""

    def __init__(
        self,
        eval_period: int,
        checkpointer: Checkpointer,
        val_metric: str,
        mode: str = "max",
        file_prefix: str = "model_best",
        *,
        stops_run: bool = False,
    ) -> None:
        """Make a hook.

        Args:
            eval_period: the period of the evaluation; 0 compares at the end only.
            checkpointer: does the saving.
            val_metric: the metric's name in the storage, such as "bbox/AP50".
            mode: "max" if larger is better, "min" if smaller is.
            file_prefix: name of the file, without ".pth".
            stops_run: whether a save that fails ends the run; otherwise it is logged.

        Raises:
            ConfigError: if the mode is neither.
        """
        super().__init__(val_metric, mode, node="SOLVER.BEST_CHECKPOINT")
        self._period = eval_period
        self._checkpointer = checkpointer
        self._file_prefix = file_prefix
        self._stops_run = stops_run

    def after_step(self) -> None:
        """Compare after an evaluation; `after_train` compares the last one."""
        if period_ends(self.trainer, self._period) and not is_last_step(self.trainer):
            self._best_checking()

    def after_train(self) -> None:
        """Compare the finished model, unless the training broke off."""
        if self.trainer.iter >= self.trainer.max_iter:
            self._best_checking()

    def _best_checking(self) -> None:
        # Where all processes save, all need the value of the main one.
        saves_together = getattr(self._checkpointer, "collect", None) is not None
        measured = self._latest(all_processes=saves_together)
        if measured is None:
            known = sorted(name for name in self.trainer.storage.latest() if "/" in name)
            logger.warning(
                f"No best checkpoint: the metric {self._metric!r} (SOLVER.BEST_CHECKPOINT.METRIC) "
                f"was not measured; measured: {', '.join(known) or 'none'}"
            )
            return
        value, measured_at = measured
        if math.isnan(value) or measured_at == self.best_iter:
            return
        if not self._is_better(value):
            logger.info(
                f"{self._metric} is {value:.4f}; the best is still {self.best_metric:.4f} "
                f"of iteration {self.best_iter}"
            )
            return
        # Set before saving, so that a run resumed from the file knows of it.
        before = self.best_metric, self.best_iter
        self.best_metric, self.best_iter = value, measured_at
        if not _save_or_log(
            self._checkpointer,
            self._file_prefix,
            stops_run=self._stops_run,
            iteration=min(self.trainer.iter, self.trainer.max_iter - 1),
        ):
            # The file on the disk is still that of the best before.
            self.best_metric, self.best_iter = before
            return
        logger.info(f"Saved {self._file_prefix}.pth: {self._metric} {value:.4f} is the best so far")

    def state_dict(self) -> dict[str, Any]:
        """Return the best value, where it was measured, and of what."""
        if self.best_metric is None:
            return {}
        return {"metric": self._metric, "value": self.best_metric, "iteration": self.best_iter}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; the best value of another metric is ignored."""
        if state_dict["metric"] != self._metric:
            logger.warning(
                f"The best checkpoint so far was chosen by {state_dict['metric']!r}; "
                f"{self._metric!r} (SOLVER.BEST_CHECKPOINT.METRIC) starts without one"
            )
            return
        self.best_metric = float(state_dict["value"])
        self.best_iter = int(state_dict["iteration"])
