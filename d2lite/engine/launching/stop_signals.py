"""Stopping a run from outside: what Ctrl-C and SIGTERM do, and how all processes agree on it."""

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

logger = logging.getLogger(__name__)

# What schedulers and `kill` send, and what Ctrl-C sends.
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Seconds within which a second SIGTERM is the first one again: a scheduler sends it to every
# process of a job, and the launcher hands it on as well.
_SAME_WISH = 2.0


class RunInterrupted(KeyboardInterrupt):
    """A run that was stopped by a signal, after it saved; the text says how to go on.

    Attributes:
        status: what the program reports to the shell, 128 + the number of the signal.
        is_told: whether the console has shown the message.
    """

    def __init__(
        self, message: str, signal_number: int = signal.SIGINT, *, is_told: bool = False
    ) -> None:
        """Make one.

        Args:
            message: where the run stood, and how to go on.
            signal_number: of the signal that stopped it.
            is_told: whether the log has shown the message on the console.
        """
        super().__init__(message)
        self.is_told = is_told
        self.status = 128 + int(signal_number)


def stop_notice(signal_number: int) -> str:
    """What a person who stops a run should know at once."""
    name = signal.Signals(signal_number).name
    return f"{name}: saving after this iteration. Once more stops at once, without saving."


@contextmanager
def listen_for_stop(stop: Callable[[int], None]) -> Iterator[None]:
    """Inside, the first Ctrl-C or SIGTERM asks for a stop, and the second one stops at once.

    Outside of the main thread, where Python hears no signals, nothing changes.

    Args:
        stop: called with the number of the first signal, between any two instructions of the
            program, so it should do no more than note it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _STOP_SIGNALS}
    asked_at: float | None = None

    def hear(number: int, _frame: FrameType | None) -> None:
        nonlocal asked_at
        now = time.monotonic()
        if asked_at is not None:
            if number == signal.SIGTERM and now - asked_at < _SAME_WISH:
                return
            raise RunInterrupted("Stopped at once, without saving.", number)
        asked_at = now
        stop(number)

    # None stands for a handler that was not set from Python and could not be put back.
    heard = [number for number in _STOP_SIGNALS if before[number] is not None]
    for number in heard:
        signal.signal(number, hear)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])


@contextmanager
def pass_on_signals(process_ids: Iterable[int]) -> Iterator[list[int]]:
    """Inside, this process hands SIGTERM on to others and leaves Ctrl-C to them.

    A terminal sends Ctrl-C to every process of a program, `kill` sends to one.

    Args:
        process_ids: of the started processes.

    Yields:
        The signals that came, in order; filled while the block runs.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    started = list(process_ids)

    def hand_on(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if number == signal.SIGTERM:
            for process_id in started:
                try:
                    os.kill(process_id, number)
                except ProcessLookupError:
                    continue

    before = {number: signal.signal(number, hand_on) for number in _STOP_SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


class StopConsensus:
    """Lets all processes stop after the same iteration, whichever of them was asked to.

    With several processes a wish is known everywhere one iteration later: the vote of an
    iteration travels while the next one computes, so nobody waits for it.
    """

    def __init__(self) -> None:
        self._group: Any = None
        self._under_way: tuple[torch.Tensor, Any] | None = None

    def submit(self, wish: int) -> int:
        """Tell this process's wish, and hear what all of them decided.

        Every process has to call this once an iteration.

        Args:
            wish: 0 to go on, or a positive number such as that of a signal.

        Returns:
            0 to go on, else the greatest wish.
        """
        if comm.get_world_size() == 1:
            return wish
        if self._group is None:
            self._group = dist.new_group(backend="gloo")
        decided = self.result()
        vote = torch.tensor([wish])
        work = dist.all_reduce(vote, dist.ReduceOp.MAX, group=self._group, async_op=True)
        self._under_way = (vote, work)
        return decided

    def result(self) -> int:
        """What the vote that is under way decided; 0 if there is none."""
        if self._under_way is None:
            return 0
        vote, work = self._under_way
        self._under_way = None
        work.wait()
        return int(vote.item())
