"""PeriodicWriter: lets the writers read the storage now and then."""

from collections.abc import Callable, Sequence

from d2lite.engine.failure_log import log_failure
from d2lite.engine.trainer_base import HookBase
from d2lite.utils.events import EventWriter

__all__ = ["PeriodicWriter"]


class PeriodicWriter(HookBase):
    """Calls `write()` of each writer every `period` steps and at the end, where it closes them."""

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

    def before_train(self) -> None:
        """Make the writers, if that was left for now."""
        if self._build_writers is not None:
            self._writers = _checked(self._build_writers())

    def after_step(self) -> None:
        """Write when the period is over, and after the last step."""
        steps_made = self.trainer.iter + 1
        if steps_made % self._period == 0 or steps_made == self.trainer.max_iter:
            for writer in self._writers:
                writer.write()

    def after_train(self) -> None:
        """Write what hooks before this one found after the last step, and close the writers."""
        for writer in self._writers:
            try:
                writer.write()
                writer.close()
            except OSError as error:
                # A full disk under one writer must not leave the others open.
                log_failure(error, f"{type(writer).__name__} could not finish its file")


def _checked(writers: Sequence[EventWriter]) -> list[EventWriter]:
    for writer in writers:
        if not isinstance(writer, EventWriter):
            raise TypeError(f"{writer!r} is not an EventWriter, so it has no write()")
    return list(writers)
