"""Stopping a run from outside: Ctrl-C, SIGTERM, SIGHUP, and how all processes agree on it."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

from d2lite.utils import comm
from d2lite.utils.errors import RunInterrupted

logger = logging.getLogger(__name__)

# What Ctrl-C sends, what schedulers and `kill` send, and what a terminal sends that is closed.
_STOP_SIGNALS = (
    signal.SIGINT,
    signal.SIGTERM,
    *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []),  # not on Windows
)
# Seconds within which a second signal counts as the first one: a scheduler sends it to every
# process of a job, and the launcher forwards its own as well. Not Ctrl-C, which a person repeats.
_REPEAT_WINDOW = 2.0


def stop_notice(signal_number: int) -> str:
    """The message for the person who stops a run, shown at once."""
    name = signal.Signals(signal_number).name
    return f"{name}: saving after this iteration. Once more stops at once, without saving."


@contextmanager
def listen_for_stop(stop: Callable[[int], None]) -> Iterator[None]:
    """Inside, the first Ctrl-C, SIGTERM or SIGHUP asks for a stop, the second one stops at once.

    Outside of the main thread, where Python handles no signals, nothing changes; nor for a SIGHUP
    that is ignored, as `nohup` wants it.

    Args:
        stop: called with the number of the first signal, between any two instructions of the
            program, so it should only store the number.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _STOP_SIGNALS}
    asked_at: float | None = None

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal asked_at
        now = time.monotonic()
        if asked_at is not None:
            if number != signal.SIGINT and now - asked_at < _REPEAT_WINDOW:
                return
            raise RunInterrupted("Stopped at once, without saving.", number)
        asked_at = now
        stop(number)

    # None means a handler that was not set from Python and could not be restored.
    handled = [
        number
        for number, handler in before.items()
        if handler is not None and not _is_kept_away(number, handler)
    ]
    for number in handled:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])


def _is_kept_away(number: int, handler: Any) -> bool:
    """Whether whoever started the program wants it to outlive its terminal."""
    return number not in (signal.SIGINT, signal.SIGTERM) and handler == signal.SIG_IGN


@contextmanager
def pass_on_signals(process_ids: Iterable[int]) -> Iterator[list[int]]:
    """Inside, this process forwards signals to others and ignores Ctrl-C itself.

    A terminal sends Ctrl-C to every process of a program; `kill` sends a signal to one.

    Args:
        process_ids: of the started processes.

    Yields:
        The signals that were received, in order; it grows while the block runs.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    started = list(process_ids)

    def forward(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if number != signal.SIGINT:
            for process_id in started:
                try:
                    os.kill(process_id, number)
                except ProcessLookupError:
                    continue

    before = {
        number: signal.signal(number, forward)
        for number in _STOP_SIGNALS
        if not _is_kept_away(number, signal.getsignal(number))
    }
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


class StopConsensus:
    """Lets all processes stop after the same iteration, whichever of them got the signal.

    With several processes a signal is known everywhere one iteration later: the numbers of an
    iteration are reduced while the next one computes, so no process waits for them.
    """

    def __init__(self) -> None:
        self._group: Any = None
        self._pending: tuple[torch.Tensor, Any] | None = None

    def submit(self, signal_number: int) -> int:
        """Send this process's number to all, and return what the last iteration's numbers decided.

        Every process has to call this once an iteration.

        Args:
            signal_number: 0 to go on, or a positive number such as that of a signal.

        Returns:
            0 to go on, else the greatest number of all processes.
        """
        if comm.get_world_size() == 1:
            return signal_number
        if self._group is None:
            self._group = dist.new_group(backend="gloo")
        decided = self.result()
        number = torch.tensor([signal_number])
        work = dist.all_reduce(number, dist.ReduceOp.MAX, group=self._group, async_op=True)
        self._pending = (number, work)
        return decided

    def result(self) -> int:
        """The greatest number of the pending reduction, which is awaited; 0 if none is pending."""
        if self._pending is None:
            return 0
        number, work = self._pending
        self._pending = None
        work.wait()
        return int(number.item())
