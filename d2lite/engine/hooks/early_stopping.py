"""EarlyStopping: ends a run whose metric no longer improves."""

import logging
from typing import Any

from d2lite.utils.errors import ConfigError

from .metric import MetricHook
from .period import period_ends

logger = logging.getLogger(__name__)


class EarlyStopping(MetricHook):
    """Ends the run after a number of evaluations in a row without a better value.

    The step it ends with is the last one in every respect: the final checkpoint is saved and
    evaluated. All processes need the hook; they follow what the main process measured.

    Attributes:
        num_bad: measurements since the best one.
    """

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
            ConfigError: if one of them cannot be used.
        """
        node = "SOLVER.EARLY_STOPPING"
        super().__init__(metric, mode, node=node, min_delta=min_delta)
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
        self._patience = patience
        self.num_bad = 0
        self._seen_at: int | None = None

    def before_train(self) -> None:
        """End a resumed run that had ended already."""
        self._end_if_out_of_patience(self.trainer.iter)

    def after_step(self) -> None:
        """Compare a new measurement."""
        if period_ends(self.trainer, self._period):
            self._compare()
            self._end_if_out_of_patience(self.trainer.iter + 1)

    def _compare(self) -> None:
        # Every process counts, so that none waits in a step that the others do not make.
        measured = self._latest(all_processes=True)
        if measured is None:
            return
        value, iteration = measured
        if iteration == self._seen_at:
            return
        self._seen_at = iteration
        if self._is_better(value):
            self.best_metric, self.best_iter, self.num_bad = value, iteration, 0
            return
        self.num_bad += 1
        logger.info(
            f"{self._metric} is not better at iteration {iteration} ({value:.4f}); early stopping "
            f"after {self._patience - self.num_bad} more such evaluations"
        )

    def _end_if_out_of_patience(self, steps_made: int) -> None:
        planned = self.trainer.max_iter
        if self.num_bad < self._patience or steps_made >= planned:
            return
        self.trainer.max_iter = steps_made
        best = "NaN"
        if self.best_metric is not None:
            best = f"{self.best_metric:.4f} of iteration {self.best_iter}"
        logger.info(
            f"Stopped early, after {steps_made} of {planned} iterations: {self._metric} was not "
            f"better than {best} in {self.num_bad} evaluations. To continue, resume with a larger "
            "SOLVER.EARLY_STOPPING.PATIENCE."
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the best value, where it was measured, and how many worse ones followed."""
        if self._seen_at is None:
            return {}
        return {
            "metric": self._metric,
            "mode": self._mode,
            "value": self.best_metric,
            "iteration": self.best_iter,
            "num_bad": self.num_bad,
            "seen_at": self._seen_at,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; the best value of another metric is ignored."""
        before = state_dict["metric"], state_dict["mode"]
        if before != (self._metric, self._mode):
            logger.warning(
                f"Early stopping watched {before[0]!r} ({before[1]}) before and watches "
                f"{self._metric!r} ({self._mode}) now: it starts again"
            )
            return
        if state_dict["value"] is not None:
            self.best_metric = float(state_dict["value"])
            self.best_iter = int(state_dict["iteration"])
        self.num_bad, self._seen_at = int(state_dict["num_bad"]), int(state_dict["seen_at"])
