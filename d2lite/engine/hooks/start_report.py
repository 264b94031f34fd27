"""StartReport: what the run will do, before its first step, and when it will end, soon after."""

import datetime
import logging
import time
from collections.abc import Callable

from d2lite.engine.trainer_base import HookBase

logger = logging.getLogger(__name__)


class StartReport(HookBase):
    """Logs a description before the first step, and the expected end after some steps."""

    def __init__(
        self, describe: Callable[[], str], memory: Callable[[], str], *, num_steps: int = 20
    ) -> None:
        """Make a hook.

        Args:
            describe: returns the description.
            memory: returns what is in use, after the steps.
            num_steps: steps that are timed; as many before are left out, at most 3, since the
                first ones allocate memory.
        """
        self._describe, self._memory = describe, memory
        self._num_steps = num_steps
        self._started: float | None = None

    def before_train(self) -> None:
        """Log the description."""
        logger.info(self._describe())
        self._started = None

    def after_step(self) -> None:
        """Log the expected end once."""
        made = self.trainer.iter + 1 - self.trainer.start_iter
        warmup = min(3, self._num_steps)
        if made == warmup:
            self._started = time.perf_counter()
        if made != warmup + self._num_steps or self._started is None:
            return
        period = (time.perf_counter() - self._started) / self._num_steps
        seconds = round(period * (self.trainer.max_iter - self.trainer.iter - 1))
        end = datetime.datetime.now() + datetime.timedelta(seconds=seconds)
        logger.info(
            f"At {period:.3f} s an iteration the training ends in "
            f"{datetime.timedelta(seconds=seconds)}, on {end:%Y-%m-%d at %H:%M}, and evaluations "
            f"come on top. Memory: {self._memory() or 'not known'}"
        )
