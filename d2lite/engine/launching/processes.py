"""The processes of one machine: started, joined in one group, watched, ended together.

torch's elastic agent is not used: when a process fails it waits 30 s for those that hang in a
collective, it does not end the other machines, it repeats Ctrl-C to processes that the terminal
has sent it to, and it waits for ever for processes that were stopped by a signal of their own.
"""

import atexit
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess as Process
from pathlib import Path
from typing import Any, NamedTuple

import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes

from d2lite.utils import comm
from d2lite.utils.errors import ProcessKilledError, RunInterrupted
from d2lite.utils.interrupts import (
    INTERRUPTED,
    handle_interrupts,
    interrupts_held_back,
    let_interrupts_in,
)
from d2lite.utils.logger import append_to_log_file
from d2lite.utils.streams import guard_streams

from .group import Place, join_group
from .rendezvous import FAILURE, INTERRUPTION, Ending, Rendezvous, StoreAddress, open_store
from .stop_signals import pass_on_signals

# Seconds between two looks at the processes and at the other machines.
_POLL_PERIOD = 0.5
# Seconds for a process to end by itself after another one failed or Ctrl-C came twice.
_END_TIMEOUT = 5.0
# Seconds for the processes here to finish after the machine of rank 0 is gone.
_ORPHAN_TIMEOUT = 30.0


class Job(NamedTuple):
    """What the processes of this machine need to join and to work; `first` is the first one."""

    main_func: Callable[..., Any]
    args: Sequence[Any]
    first: Place
    address: StoreAddress
    timeout: timedelta


def run_processes(job: Job, rendezvous: Rendezvous) -> None:
    """Start this machine's processes and wait until all have ended.

    Args:
        job: what they do.
        rendezvous: where they report how they ended.

    Raises:
        UserError: what the first process that failed raised, of the same type and message.
        ProcessKilledError: if a signal that was not meant for the run ended one of them.
        RunInterrupted: if a signal stopped them after they saved, or before they trained.
        KeyboardInterrupt: if Ctrl-C ended them before they trained.
        RuntimeError: if a process failed otherwise, on any machine; the text holds its traceback.
    """
    with interrupts_held_back():
        started: Any = start_processes(
            _work, args=(job,), nprocs=job.first.local_size, join=False, start_method="spawn"
        )
    processes: list[Process] = started.processes
    with pass_on_signals(started.pids()) as received:
        try:
            _watch(processes, rendezvous, received)
        finally:
            # Read before they are ended: a process that is ended here has not failed.
            statuses = [process.exitcode for process in processes]
            _end(processes)
    if signal.SIGINT in received and INTERRUPTED in statuses:
        raise KeyboardInterrupt  # before there was something to save
    for number in received:
        if -number in statuses:
            raise RunInterrupted(
                f"Stopped by {signal.Signals(number).name} before the first iteration or after the "
                "last one: there was nothing to save.",
                number,
            )
    files = [Path(file) for file in started.error_files]
    failure = _find_failure(job, rendezvous, statuses, files)
    for file in files:
        file.unlink(missing_ok=True)
    if failure is not None:
        rendezvous.write(failure)
        report = RuntimeError(
            f"Rank {failure.rank} of {job.first.world_size} failed:\n\n{failure.text}"
        )
        # A user's mistake is shown by its message; where it came from is the cause.
        raise failure.error or report from (report if failure.error else None)
    interruption = rendezvous.read(INTERRUPTION)
    if interruption is not None and interruption.error is not None:
        raise interruption.error


def _watch(processes: Sequence[Process], rendezvous: Rendezvous, received: Sequence[int]) -> None:
    """Wait until all processes have finished, or one of any machine has failed."""
    deadline, reason = float("inf"), ""
    while running := [process.sentinel for process in processes if process.is_alive()]:
        wait(running, timeout=_POLL_PERIOD)
        if any(process.exitcode for process in processes) or rendezvous.read(FAILURE):
            return
        now = time.monotonic()
        if now > deadline:
            raise RuntimeError(f"The processes of this machine were ended: {reason}.")
        if reason:
            continue
        if len(received) > 1:
            deadline, reason = now + _END_TIMEOUT, "they did not end after a second signal"
        elif not rendezvous.is_reachable:
            deadline = now + _ORPHAN_TIMEOUT
            reason = "the machine of rank 0 can no longer be reached"


def _end(processes: Sequence[Process]) -> None:
    """End the processes that still run; they wait for one that is gone."""
    deadline = time.monotonic() + _END_TIMEOUT
    for process in processes:
        if process.is_alive():
            process.terminate()
    for process in processes:
        process.join(max(deadline - time.monotonic(), 0))
        if process.is_alive():
            process.kill()
            process.join()


def _work(local_rank: int, job: Job) -> None:
    """Body of a started process."""
    reported: list[int] = []
    # Registered first, so that it runs after the handlers of the job and of its libraries.
    atexit.register(_leave, reported)
    try:
        handle_interrupts()
        let_interrupts_in()
        _join_and_work(local_rank, job, reported)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


def _leave(reported: Sequence[int]) -> None:
    """End the process with the status that it reported.

    The threads of a group that was not left may abort a process that frees everything at its
    end, which would then count as killed from outside.
    """
    if reported:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # its reader is gone, or it is closed
                stream.flush()
        os._exit(reported[0])


def _join_and_work(local_rank: int, job: Job, reported: list[int]) -> None:
    """Join the group, run, leave, report any other ending; add the status to `reported`."""
    guard_streams()
    place = job.first._replace(rank=job.first.rank + local_rank, local_rank=local_rank)
    store = open_store(job.address.host, job.address.port, job.timeout)
    try:
        join_group(place, job.timeout, store=store, init_method=job.address.init_method)
        job.main_func(*job.args)
        # Only here: after a failure the others may hang in a collective, and leaving would wait
        # for them. The end of the process frees everything as well.
        comm.synchronize()
        dist.destroy_process_group()
        reported.append(0)
    except RunInterrupted as stop:
        # Not a failure: the launcher raises it after all processes have saved.
        Ending.now(place.rank, stop).write(store)
        reported.append(0)
    except Exception as error:
        ending = Ending.now(place.rank, error)
        append_to_log_file(ending.text)
        ending.write(store)
        reported.append(1)
        raise


def _find_failure(
    job: Job, rendezvous: Rendezvous, statuses: Sequence[int | None], files: Sequence[Path]
) -> Ending | None:
    """The failure that ended the run; None if there is none.

    Args:
        job: what the processes did.
        rendezvous: where they reported their endings.
        statuses: of each process when the first failure was seen; None of those that ran.
        files: where torch leaves the traceback of each process.
    """
    first_rank = job.first.rank
    for number, status in enumerate(statuses):
        if status is not None and status < 0:
            # Before what the others reported: they fail because this one is gone.
            rank = first_rank + number
            text = (
                f"Rank {rank} of {job.first.world_size} failed: it was ended by "
                f"{signal.Signals(-status).name}, without a Python error. Killed from outside, or "
                "out of memory (`dmesg` tells)? --resume goes on from the last checkpoint; smaller "
                "batches (SOLVER.IMS_PER_BATCH) and images (INPUT.MIN_SIZE_TRAIN) need less memory."
            )
            return Ending(rank, text, ProcessKilledError(text))
    if failure := rendezvous.read(FAILURE):
        return failure
    for number, status in enumerate(statuses):
        if status:
            text = "It ended before it could begin; its own message is above."
            if files[number].exists():  # it could not reach the store
                text = pickle.loads(files[number].read_bytes())
            return Ending(first_rank + number, text)
    return None
