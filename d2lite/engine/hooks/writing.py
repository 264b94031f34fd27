"""PeriodicWriter: lets the writers read the storage now and then."""

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from d2lite.engine.launching.failure_log import log_failure
from d2lite.engine.trainer_base import HookBase
from d2lite.utils.events import EventWriter

logger = logging.getLogger(__name__)


class PeriodicWriter(HookBase):
    """Calls `write()` of each writer every `period` steps and at the end, where it closes them.

    A file that cannot be written, on a full disk or in a lost folder, is told once and does not
    stop the run.
    """

    runs_again = True

    def __init__(
        self, writers: Sequence[EventWriter] | Callable[[], Sequence[EventWriter]], period: int = 20
    ) -> None:
        """Make a hook.

        Args:
            writers: console, metrics.json, TensorBoard or others; or a function that makes them
                when training begins, so that no file is opened for a run that never does.
            period: steps between two writings.
        """
        self._build_writers: Callable[[], Sequence[EventWriter]] | None = None
        self._writers: list[EventWriter] = []
        if callable(writers):
            self._build_writers = writers
        else:
            self._writers = _checked(writers)
        self._period = period
        self._failing: set[int] = set()

    def before_train(self) -> None:
        """Make the writers, if that was left for now."""
        if self._build_writers is not None:
            self._writers = _checked(self._build_writers())

    def after_step(self) -> None:
        """Write when the period is over, and after the last step."""
        steps_made = self.trainer.iter + 1
        if steps_made % self._period == 0 or steps_made == self.trainer.max_iter:
            for writer in self._writers:
                self._write(writer)

    def after_train(self) -> None:
        """Write what hooks before this one found after the last step, and close the writers."""
        # Whatever goes wrong with one writer, the stack closes it and the others.
        with ExitStack() as stack:
            for writer in reversed(self._writers):
                stack.callback(_try, writer, writer.close)
                if not self.trainer.is_stopping:
                    # A run that stops to be resumed writes when it would have written anyway.
                    stack.callback(_try, writer, writer.write)

    def _write(self, writer: EventWriter) -> None:
        try:
            writer.write()
        except OSError as error:
            if id(writer) not in self._failing:
                logger.error(
                    f"{type(writer).__name__} cannot write ({error.strerror or error}). The run "
                    "goes on; free some space or bring the folder back, and it goes on writing"
                )
            self._failing.add(id(writer))
        else:
            self._failing.discard(id(writer))


def _try(writer: EventWriter, finish: Callable[[], None]) -> None:
    try:
        finish()
    except OSError as error:
        log_failure(error, f"{type(writer).__name__} could not finish its file")


def _checked(writers: Sequence[EventWriter]) -> list[EventWriter]:
    for writer in writers:
        if not isinstance(writer, EventWriter):
            raise TypeError(f"{writer!r} is not an EventWriter, so it has no write()")
    return list(writers)
