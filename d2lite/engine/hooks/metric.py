"""MetricHook: follow the best value of a metric; the base of hooks that act on it."""

import math

from d2lite.utils import comm
from d2lite.utils.errors import ConfigError

from ..trainer_base import HookBase


class MetricHook(HookBase):
    """Reads a metric from the storage and knows its best value.

    Register it after the hook that writes the metric.

    Attributes:
        best_metric: the best value so far; None before the first that is a number.
        best_iter: the iteration it was measured at.
    """

    runs_again = True

    def __init__(self, metric: str, mode: str, *, node: str, min_delta: float = 0.0) -> None:
        """Make a hook.

        Args:
            metric: its name in the storage, such as "bbox/AP50" or "validation/total_loss".
            mode: "max" if larger is better, "min" if smaller is.
            node: the configuration node that describes the hook, for messages.
            min_delta: a value counts as better if it is better by more than this.

        Raises:
            ConfigError: for another mode.
        """
        if mode not in ("max", "min"):
            raise ConfigError(f"{node}.MODE={mode!r} is not known; use 'max' or 'min'.")
        self._metric = metric
        self._mode = mode
        self._min_delta = min_delta
        self.best_metric: float | None = None
        self.best_iter: int | None = None

    def _latest(self, *, all_processes: bool) -> tuple[float, int] | None:
        """The newest value and the iteration that it was measured at; None if there is none.

        Args:
            all_processes: return in all of them what the main process has; all must call this.
        """
        measured = self.trainer.storage.latest().get(self._metric)
        if all_processes:
            measured = comm.all_gather(measured)[0]
        return None if measured is None else (float(measured[0]), int(measured[1]))

    def _is_better(self, value: float) -> bool:
        if math.isnan(value):
            return False
        if self.best_metric is None:
            return True
        gain = value - self.best_metric if self._mode == "max" else self.best_metric - value
        return gain > self._min_delta
