"""PeriodicWriter: calls the writers of scalars at a period."""

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from d2lite.engine.trainer_base import HookBase
from d2lite.utils.errors import InputTypeError
from d2lite.utils.events import EventWriter
from d2lite.utils.failure_log import log_failure

from .period import is_due

logger = logging.getLogger(__name__)


class PeriodicWriter(HookBase):
    """Calls `write()` of each writer every `period` steps and at the end, where it closes them.

    A file that cannot be written, on a full disk or in a lost folder, is logged once and does not
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
        """Make the writers, if a function for that was given."""
        if self._build_writers is not None:
            self._writers = _checked(self._build_writers())

    def after_step(self) -> None:
        """Write when the period is over, and after the last step."""
        if is_due(self.trainer, self._period):
            for writer in self._writers:
                self._write(writer)

    def after_train(self) -> None:
        """Write what the hooks before this one added after the last step; close the writers."""
        # If one writer fails, the stack still closes it and the others.
        with ExitStack() as stack:
            for writer in reversed(self._writers):
                stack.callback(_try, writer, writer.close)
                if not self.trainer.is_stopping:
                    # A run that stops to be resumed writes at its usual steps only.
                    stack.callback(_try, writer, writer.write)

    def _write(self, writer: EventWriter) -> None:
        try:
            writer.write()
        except OSError as error:
            if id(writer) not in self._failing:
                logger.error(
                    f"{type(writer).__name__} cannot write ({error.strerror or error}). The run "
                    "continues; free some space or restore the folder, and it writes again"
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
            raise InputTypeError(f"{writer!r} is not an EventWriter, so it has no write()")
    return list(writers)
