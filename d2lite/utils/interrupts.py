"""Ctrl-C while a program is still being loaded."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType

# What a shell reports for a program that Ctrl-C ended: 128 + SIGINT.
INTERRUPTED = 130
_IMPORT = "<frozen importlib"


def handle_interrupts(message: str = "") -> None:
    """From now on Ctrl-C during an import ends the program at once; else it does as before.

    Compiled modules drop an exception that is raised while they are loaded, or turn it into
    another one, and the program would go on. There is nothing to save at that time.

    Args:
        message: written to standard error.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        caller = frame
        while caller is not None:
            if caller.f_code.co_filename.startswith(_IMPORT):
                os.write(2, message.encode())
                os._exit(INTERRUPTED)
            caller = caller.f_back
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, handle)


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Inside, Ctrl-C waits; processes that are started inside hold it back until they let it in."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    # Its own start would let them in.
    _start_resource_tracker()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_resource_tracker() -> None:
    """Start the process that removes what killed ones leave, without its warning that it does."""
    before = os.environ.get("PYTHONWARNINGS")
    filters = [before or "", "ignore:resource_tracker:UserWarning"]
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, filters))
    try:
        resource_tracker.ensure_running()
    finally:
        del os.environ["PYTHONWARNINGS"]
        if before is not None:
            os.environ["PYTHONWARNINGS"] = before


def let_interrupts_in() -> None:
    """Take the Ctrl-C that the start of this process held back, and later ones."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
