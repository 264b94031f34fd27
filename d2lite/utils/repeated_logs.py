"""Messages that would come again and again: the first times alone, or now and then."""

import logging
import sys
import time
from collections import Counter
from types import FrameType

__all__ = ["log_every_n", "log_every_n_seconds", "log_first_n"]

_counts: Counter[tuple[object, ...]] = Counter()
_last_times: dict[tuple[object, ...], float] = {}


def _caller() -> FrameType:
    """The innermost frame outside this file."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename == __file__ and frame.f_back is not None:
        frame = frame.f_back
    return frame


def _place(frame: FrameType) -> tuple[object, ...]:
    return frame.f_code.co_filename, frame.f_lineno


def _log_as(frame: FrameType, lvl: int, msg: str, name: str | None) -> None:
    # The two inner calls of this file are skipped, so that the record names the true caller.
    logging.getLogger(name or frame.f_globals.get("__name__")).log(lvl, msg, stacklevel=3)


def log_first_n(
    lvl: int,
    msg: str,
    n: int = 1,
    *,
    name: str | None = None,
    key: str | tuple[str, ...] = "caller",
) -> None:
    """Log a message the first n times alone.

    Args:
        lvl: level, such as logging.WARNING.
        msg: the message.
        n: how many times.
        name: logger; the caller's module if None.
        key: what makes two calls the same: "caller" (the line of code), "message", or both as a
            tuple.

    Raises:
        ValueError: if `key` holds anything else.
    """
    keys = (key,) if isinstance(key, str) else tuple(key)
    if not keys or not set(keys) <= {"caller", "message"}:
        raise ValueError(
            f"log_first_n got key={key!r}; use 'caller', 'message' or a tuple of both."
        )
    frame = _caller()
    identity: tuple[object, ...] = (name, *keys)
    if "caller" in keys:
        identity += _place(frame)
    if "message" in keys:
        identity += (msg,)
    _counts[identity] += 1
    if _counts[identity] <= n:
        _log_as(frame, lvl, msg, name)


def log_every_n(lvl: int, msg: str, n: int = 1, *, name: str | None = None) -> None:
    """Log a message at the first of every n calls from one line of code.

    Args:
        lvl: level, such as logging.WARNING.
        msg: the message.
        n: period in calls.
        name: logger; the caller's module if None.
    """
    frame = _caller()
    identity = ("every", *_place(frame))
    if _counts[identity] % n == 0:
        _log_as(frame, lvl, msg, name)
    _counts[identity] += 1


def log_every_n_seconds(lvl: int, msg: str, n: float = 1, *, name: str | None = None) -> None:
    """Log a message unless the same line of code did so less than n seconds ago.

    Args:
        lvl: level, such as logging.WARNING.
        msg: the message.
        n: seconds.
        name: logger; the caller's module if None.
    """
    frame = _caller()
    now, last = time.monotonic(), _last_times.get(_place(frame))
    if last is None or now - last >= n:
        _last_times[_place(frame)] = now
        _log_as(frame, lvl, msg, name)
