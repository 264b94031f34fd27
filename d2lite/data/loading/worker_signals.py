"""Signals in the worker processes of a loader, which stop when the process that trains says so."""

import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing import resource_sharer
from typing import Any

from d2lite.utils.interrupts import let_interrupts_in

from .worker_transport import lack_of_means

# Seconds between two looks at the parent.
_LOOK_PERIOD = 5.0


def leave_signals_to_parent() -> None:
    """Let this worker outlive a signal that was meant for the whole program.

    A terminal sends Ctrl-C or, when it is closed, SIGHUP, and a scheduler SIGTERM, to every process
    of a program. The one that trains finishes its step and saves, and needs its workers until then.
    SIGTERM from the parent itself still ends a worker, and so does the parent's end.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    let_interrupts_in()  # held back at the start, and ignored from here
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if not hasattr(signal, "sigtimedwait"):
        return
    # Only a thread that waits for the signal learns who sent it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    parent = multiprocessing.parent_process()
    number = os.getppid() if parent is None or parent.pid is None else parent.pid
    try:
        threading.Thread(target=_obey_parent, args=(number,), daemon=True).start()
        if not lack_of_means():
            _start_sharing()
    except RuntimeError as error:
        # No thread would send batches, either, and SIGTERM, which ends a worker, stays blocked.
        sys.stderr.write(f"A worker of the data loader ends: {error} (`ulimit -u`).\n")
        sys.stderr.flush()
        os._exit(1)


def _start_sharing() -> None:
    """Start the thread that passes shared memory on, which would start with the first batch.

    An error at that time is lost, and the process that trains would wait for ever.
    """
    sharer: Any = resource_sharer
    sharer._resource_sharer._start()


def _obey_parent(parent: int) -> None:
    # torch's workers watch their parent, too, but one whose last batch fills a pipe would then wait
    # for ever for somebody to read it, and one whose parent was killed before it had started takes
    # the process that it was left to for its parent.
    starter = os.getppid()  # the parent, or the fork server, which ends with it
    while os.getppid() == starter and _runs(parent):
        told = signal.sigtimedwait({signal.SIGTERM}, _LOOK_PERIOD)
        if told is not None and told.si_pid == parent:
            break
    os._exit(0)


def _runs(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except OSError as error:
        return not isinstance(error, ProcessLookupError)
    return True
