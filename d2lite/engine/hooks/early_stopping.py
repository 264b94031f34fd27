"""EarlyStopping: ends a run whose metric no longer gets better."""

import logging
import math
from typing import Any

from d2lite.engine.trainer_base import HookBase
from d2lite.utils import comm
from d2lite.utils.errors import ConfigError

logger = logging.getLogger(__name__)


class EarlyStopping(HookBase):
    """Ends the run after a number of evaluations in a row without a better value.

    The step it ends with is the last one in every respect: the final checkpoint is saved and
    evaluated. All processes need the hook; they follow what the main process measured. It has to
    be registered behind the hook that writes the metric into the storage.

    Attributes:
        best_value: the best value so far; None before the first that is a number.
        best_iter: the iteration it was measured at.
        num_bad: measurements since then.
    """

    runs_again = True

    def __init__(
        self,
        period: int,
        metric: str,
        mode: str = "max",
        *,
        patience: int = 5,
        min_delta: float = 0.0,
    ) -> None:
        """Make a hook.

        Args:
            period: steps between two measurements of the metric.
            metric: its name in the storage, such as "bbox/AP" or "validation/total_loss".
            mode: "max" if larger is better, "min" if smaller is.
            patience: measurements without a better value after which the run ends.
            min_delta: a value counts as better if it is better by more than this.

        Raises:
            ConfigError: if one of them makes no sense.
        """
        node = "SOLVER.EARLY_STOPPING"
        if mode not in ("max", "min"):
            raise ConfigError(f"{node}.MODE={mode!r} is not known; use 'max' or 'min'.")
        if patience < 1:
            raise ConfigError(
                f"{node}.PATIENCE={patience} would stop every run; use 1 or more, or leave "
                f"{node}.METRIC empty."
            )
        if min_delta < 0:
            raise ConfigError(f"{node}.MIN_DELTA={min_delta} is negative; use 0 or more.")
        if period < 1:
            raise ConfigError(
                f"{node} waits for {metric!r}, which is not measured during the training. Set "
                "TEST.EVAL_PERIOD (results) or TEST.LOSS_PERIOD (validation losses)."
            )
        self._period = period
        self._metric = metric
        self._mode = mode
        self._sign = 1 if mode == "max" else -1
        self._patience = patience
        self._min_delta = min_delta
        self.best_value: float | None = None
        self.best_iter: int | None = None
        self.num_bad = 0
        self._seen_at: int | None = None

    def before_train(self) -> None:
        """End at once what had ended before."""
        self._end_if_hopeless(self.trainer.iter)

    def after_step(self) -> None:
        """Look at a new measurement."""
        steps_made = self.trainer.iter + 1
        if steps_made % self._period == 0:
            self._look()
            self._end_if_hopeless(steps_made)

    def _look(self) -> None:
        measured = None
        if comm.is_main_process():
            measured = self.trainer.storage.latest().get(self._metric)
        # Every process counts along, so that none is left waiting in a step that others skip.
        measured = comm.all_gather(measured)[0]
        if measured is None:
            return
        value, iteration = float(measured[0]), int(measured[1])
        if iteration == self._seen_at:
            return
        self._seen_at = iteration
        if self._is_better(value):
            self.best_value, self.best_iter, self.num_bad = value, iteration, 0
            return
        self.num_bad += 1
        logger.info(
            f"{self._metric} is no better at iteration {iteration} ({value:.4f}); early stopping "
            f"after {self._patience - self.num_bad} more such evaluations"
        )

    def _is_better(self, value: float) -> bool:
        if math.isnan(value):
            return False
        if self.best_value is None:
            return True
        return self._sign * (value - self.best_value) > self._min_delta

    def _end_if_hopeless(self, steps_made: int) -> None:
        planned = self.trainer.max_iter
        if self.num_bad < self._patience or steps_made >= planned:
            return
        self.trainer.max_iter = steps_made
        best = "NaN"
        if self.best_value is not None:
            best = f"{self.best_value:.4f} of iteration {self.best_iter}"
        logger.info(
            f"Stopped early, after {steps_made} of {planned} iterations: {self._metric} was no "
            f"better than {best} in {self.num_bad} evaluations. To go on, resume with a larger "
            "SOLVER.EARLY_STOPPING.PATIENCE."
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the best value, where it was measured, and how many worse ones followed."""
        if self._seen_at is None:
            return {}
        return {
            "metric": self._metric,
            "mode": self._mode,
            "value": self.best_value,
            "iteration": self.best_iter,
            "num_bad": self.num_bad,
            "seen_at": self._seen_at,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` returned; the best of another metric is forgotten."""
        before = state_dict["metric"], state_dict["mode"]
        if before != (self._metric, self._mode):
            logger.warning(
                f"Early stopping watched {before[0]!r} ({before[1]}) before and watches "
                f"{self._metric!r} ({self._mode}) now: it starts anew"
            )
            return
        self.best_value, self.best_iter = state_dict["value"], state_dict["iteration"]
        self.num_bad, self._seen_at = state_dict["num_bad"], state_dict["seen_at"]
