"""Hooks that save: PeriodicCheckpointer at a period, BestCheckpointer at the best metric."""

import logging
import math
from typing import Any

from d2lite.checkpoint import Checkpointer
from d2lite.checkpoint import PeriodicCheckpointer as PeriodicSaver
from d2lite.engine.trainer_base import HookBase
from d2lite.utils.errors import ConfigError

__all__ = ["BestCheckpointer", "PeriodicCheckpointer"]

logger = logging.getLogger(__name__)


class PeriodicCheckpointer(PeriodicSaver, HookBase):
    """Saves every `period` steps and after the last one, as its base class says."""

    def before_train(self) -> None:
        """Learn where the run ends."""
        self.max_iter = self.trainer.max_iter

    def after_step(self) -> None:
        """Save if it is time."""
        self.step(self.trainer.iter)


class BestCheckpointer(HookBase):
    """Saves the model whenever a metric is better than ever before in the run.

    It has to be registered behind the hook that writes the metric into the storage.
    """

    def __init__(
        self,
        eval_period: int,
        checkpointer: Checkpointer,
        val_metric: str,
        mode: str = "max",
        file_prefix: str = "model_best",
    ) -> None:
        """Make a hook.

        Args:
            eval_period: the period of the evaluation; 0 looks at the end only.
            checkpointer: does the saving.
            val_metric: the metric's name in the storage, such as "bbox/AP50".
            mode: "max" if larger is better, "min" if smaller is.
            file_prefix: name of the file, without ".pth".

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
        if value is None:
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
        self.best_value, self.best_iter = value, int(measured_at)
        self._checkpointer.save(
            self._file_prefix, iteration=min(self.trainer.iter, self.trainer.max_iter - 1)
        )
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
