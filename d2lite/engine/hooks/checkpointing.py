"""Hooks that save: PeriodicCheckpointer at a period, BestCheckpointer at the best metric."""

import logging
import math
from typing import Any

from d2lite.checkpoint import Checkpointer
from d2lite.checkpoint import PeriodicCheckpointer as PeriodicSaver
from d2lite.engine.trainer_base import HookBase
from d2lite.utils import comm
from d2lite.utils.errors import ConfigError, OutputError

logger = logging.getLogger(__name__)


def _save_or_tell(
    checkpointer: Checkpointer, name: str, *, stops_run: bool, iteration: int, **kwargs: Any
) -> bool:
    """Save; a disk that does not take the file costs a message, and the run only if asked for."""
    try:
        checkpointer.save(name, iteration=iteration, **kwargs)
    except OutputError as error:
        if stops_run:
            raise
        logger.error(
            f"The checkpoint {name}.pth of iteration {iteration} was not saved: {error} Older "
            "files are whole, and the run goes on; SOLVER.STOP_ON_SAVE_ERROR True would end it"
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
            stops_run: whether a save that fails ends the run; else it is told.
        """
        super().__init__(checkpointer, period, max_iter, max_to_keep, file_prefix)
        self.stops_run = stops_run
        self.saved_iter: int | None = None
        self._is_final_missing = False

    def before_train(self) -> None:
        """Learn where the run ends."""
        self.max_iter = self.trainer.max_iter

    def after_step(self) -> None:
        """Save if it is time, or if there will be no later time."""
        iteration = self.trainer.iter
        self.step(iteration)
        if self.trainer.is_stopping and self.saved_iter != iteration:
            self.save(f"{self.file_prefix}_{iteration:07d}", iteration=iteration)
            self._delete_old()

    def save(self, name: str, **kwargs: Any) -> None:
        """Save under a name of the caller's."""
        is_saved = _save_or_tell(self.checkpointer, name, stops_run=self.stops_run, **kwargs)
        if is_saved:
            self.saved_iter = kwargs["iteration"]
        if name == f"{self.file_prefix}_final":
            self._is_final_missing = not is_saved

    def after_train(self) -> None:
        """Save the last weights of a run that another hook ended before its time.

        Raises:
            OutputError: if the final weights could not be saved, then and now.
        """
        trainer = self.trainer
        is_finished = trainer.iter >= trainer.max_iter
        is_ended_early = self.max_iter is not None and trainer.max_iter < self.max_iter
        if is_finished and (is_ended_early or self._is_final_missing):
            self.stops_run = True
            self.save(f"{self.file_prefix}_final", iteration=trainer.max_iter - 1)


class BestCheckpointer(HookBase):
    """Saves the model whenever a metric is better than ever before in the run.

    It has to be registered behind the hook that writes the metric into the storage.
    """

    runs_again = True

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
            eval_period: the period of the evaluation; 0 looks at the end only.
            checkpointer: does the saving.
            val_metric: the metric's name in the storage, such as "bbox/AP50".
            mode: "max" if larger is better, "min" if smaller is.
            file_prefix: name of the file, without ".pth".
            stops_run: whether a save that fails ends the run; else it is told.

        Raises:
            ConfigError: if the mode is neither.
        """
        if mode not in ("max", "min"):
            raise ConfigError(
                f"SOLVER.BEST_CHECKPOINT.MODE={mode!r} is not known; use 'max' or 'min'."
            )
        self._period = eval_period
        self._checkpointer = checkpointer
        self._metric = val_metric
        self._sign = 1 if mode == "max" else -1
        self._file_prefix = file_prefix
        self._stops_run = stops_run
        self.best_value: float | None = None
        self.best_iter: int | None = None

    def after_step(self) -> None:
        """Compare after an evaluation; the last one is seen in `after_train`."""
        steps_made = self.trainer.iter + 1
        is_due = self._period > 0 and steps_made % self._period == 0
        if is_due and steps_made != self.trainer.max_iter:
            self._compare()

    def after_train(self) -> None:
        """Compare the finished model, unless the training broke off."""
        if self.trainer.iter >= self.trainer.max_iter:
            self._compare()

    def _compare(self) -> None:
        value, measured_at = self.trainer.storage.latest().get(self._metric, (None, None))
        if self._checkpointer.collect is not None:
            # All processes save, so all have to know what the main one measured.
            value, measured_at = comm.all_gather((value, measured_at))[0]
        if value is None or measured_at is None:
            known = sorted(name for name in self.trainer.storage.latest() if "/" in name)
            logger.warning(
                f"No best checkpoint: the metric {self._metric!r} (SOLVER.BEST_CHECKPOINT.METRIC) "
                f"was not measured; measured: {', '.join(known) or 'none'}"
            )
            return
        value = float(value)
        if math.isnan(value) or measured_at == self.best_iter:
            return
        if self.best_value is not None and self._sign * (value - self.best_value) <= 0:
            logger.info(
                f"{self._metric} is {value:.4f}; the best stays {self.best_value:.4f} "
                f"of iteration {self.best_iter}"
            )
            return
        # Set before saving, so that the file knows of itself when a run is resumed from it.
        before = self.best_value, self.best_iter
        self.best_value, self.best_iter = value, int(measured_at)
        if not _save_or_tell(
            self._checkpointer,
            self._file_prefix,
            stops_run=self._stops_run,
            iteration=min(self.trainer.iter, self.trainer.max_iter - 1),
        ):
            # The file on the disk is still that of the best before.
            self.best_value, self.best_iter = before
            return
        logger.info(f"Saved {self._file_prefix}.pth: {self._metric} {value:.4f} is the best so far")

    def state_dict(self) -> dict[str, Any]:
        """Return the best value, where it was measured, and of what."""
        if self.best_value is None:
            return {}
        return {"metric": self._metric, "value": self.best_value, "iteration": self.best_iter}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` returned; the best of another metric is forgotten."""
        if state_dict["metric"] != self._metric:
            logger.warning(
                f"The best checkpoint so far was chosen by {state_dict['metric']!r}; "
                f"{self._metric!r} (SOLVER.BEST_CHECKPOINT.METRIC) starts anew"
            )
            return
        self.best_value, self.best_iter = state_dict["value"], state_dict["iteration"]
