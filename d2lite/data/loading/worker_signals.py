"""Signals in the worker processes of a loader, which stop when the process that trains says so."""

import os
import signal
import threading


def leave_signals_to_parent() -> None:
    """Let this worker outlive a Ctrl-C or SIGTERM that was meant for the whole program.

    A terminal sends Ctrl-C, and a scheduler SIGTERM, to every process of a program. The one that
    trains finishes its step and saves, and needs its workers until then. SIGTERM from the parent
    itself still ends a worker, and so does the parent's end, which torch's workers watch.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not hasattr(signal, "sigwaitinfo"):
        return
    # Only a thread that waits for the signal learns who sent it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_obey_parent, args=(os.getppid(),), daemon=True).start()


def _obey_parent(parent: int) -> None:
    while True:
        if signal.sigwaitinfo({signal.SIGTERM}).si_pid == parent:
            os._exit(0)
