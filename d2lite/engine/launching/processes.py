"""The processes of one machine: started, joined in one group, watched over, ended together."""

import pickle
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import timedelta
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess as Process
from pathlib import Path
from signal import Signals
from typing import Any, NamedTuple

import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes

from d2lite.utils import comm
from d2lite.utils.errors import UserError
from d2lite.utils.logger import append_to_log_file

from .group import choose_device, group_backend
from .meeting import Meeting, MeetingPoint
from .stop_signals import RunInterrupted, pass_on_signals

# Between two looks at the processes and at the other machines, in seconds.
_LOOK_PERIOD = 0.5
# What a process gets to end by itself, when another one failed or Ctrl-C came twice.
_GRACE = 5.0
# What the processes here get to finish when the machine of rank 0 is gone.
_LONELY_GRACE = 30.0


class Job(NamedTuple):
    """What every process must know to join and to work."""

    main_func: Callable[..., Any]
    args: Sequence[Any]
    num_per_machine: int
    num_machines: int
    machine_rank: int
    meeting_point: MeetingPoint
    timeout: timedelta
    # For notes that processes leave when they end otherwise than by finishing.
    folder: str

    @property
    def world_size(self) -> int:
        """Number of processes on all machines."""
        return self.num_machines * self.num_per_machine


class _Ending(NamedTuple):
    """How one process ended early; error is None where it could not be pickled."""

    when: float
    rank: int
    trace: str
    error: UserError | RunInterrupted | None


def run_processes(job: Job, meeting: Meeting) -> None:
    """Start this machine's processes and wait until all have ended.

    Args:
        job: what they do.
        meeting: where they meet.

    Raises:
        UserError: what a process raised, of the same type and message.
        RunInterrupted: if a signal stopped them after they saved.
        RuntimeError: if a process failed otherwise, on whichever machine; the text holds its
            trace.
    """
    started: Any = start_processes(  # type: ignore[no-untyped-call]
        _work, args=(job,), nprocs=job.num_per_machine, join=False, start_method="spawn"
    )
    processes: list[Process] = started.processes
    with pass_on_signals(started.pids()) as received:
        try:
            failed = _watch(processes, meeting, received)
        finally:
            # Read before they are ended: later nobody can tell who was killed by whom.
            statuses = [process.exitcode for process in processes]
            _end(processes)
        if failed:
            error = _find_cause(job, statuses)
            meeting.tell_failure(f"on machine {job.machine_rank}: {error}")
            # A user's mistake is told by its message; where it came from stands behind it.
            raise error from error.__cause__
    stopped = [ending.error for ending in _endings(job) if ending.error is not None]
    if stopped:
        raise stopped[0]


def _watch(processes: Sequence[Process], meeting: Meeting, received: Sequence[int]) -> bool:
    """Wait until all have finished or one has failed; tell whether one has."""
    deadline = None
    reason = ""
    while True:
        running = [process.sentinel for process in processes if process.is_alive()]
        if any(process.exitcode for process in processes):
            return True
        if not running:
            return False
        wait(running, timeout=_LOOK_PERIOD)
        now = time.monotonic()
        if deadline is None:
            if len(received) > 1:
                deadline, reason = now + _GRACE, "they did not end after a second signal"
            elif failure := meeting.failure_elsewhere():
                raise RuntimeError(f"The run failed {failure}")
            elif not meeting.is_reachable:
                deadline = now + _LONELY_GRACE
                reason = "the machine of rank 0 can no longer be reached"
        elif now > deadline:
            raise RuntimeError(f"The processes of this machine were ended: {reason}.")


def _end(processes: Sequence[Process]) -> None:
    """End what still runs: it waits for a process that is gone."""
    deadline = time.monotonic() + _GRACE
    for process in processes:
        if process.is_alive():
            process.terminate()
    for process in processes:
        process.join(max(deadline - time.monotonic(), 0))
        if process.is_alive():
            process.kill()
            process.join()


def _work(local_rank: int, job: Job) -> None:
    """Body of a started process: join, run, leave; note down how it ended otherwise."""
    rank = job.machine_rank * job.num_per_machine + local_rank
    try:
        choose_device(local_rank, job.num_per_machine)
        dist.init_process_group(
            group_backend(),
            rank=rank,
            world_size=job.world_size,
            timeout=job.timeout,
            **job.meeting_point.for_process(job.timeout),
        )
        comm.create_local_process_group(job.num_per_machine)
        comm.synchronize()
        job.main_func(*job.args)
        # Only here: after a failure the others may hang in a collective, and leaving would wait
        # for them. The end of the process frees everything as well.
        comm.synchronize()
        dist.destroy_process_group()
    except RunInterrupted as stop:
        # Not a failure: the parent tells it when all processes have saved.
        _note(job, rank, stop)
    except Exception as error:
        _note(job, rank, error)
        raise


def _note(job: Job, rank: int, error: Exception | RunInterrupted) -> None:
    when, trace = time.time(), traceback.format_exc()
    is_told = isinstance(error, UserError | RunInterrupted)
    if not isinstance(error, RunInterrupted):
        append_to_log_file(trace)
    ending = _Ending(when, rank, trace, error if is_told else None)  # type: ignore[arg-type]
    try:
        content = pickle.dumps(ending)
    except Exception:  # a user's own error type may hold anything
        content = pickle.dumps(ending._replace(error=None))
    part = Path(job.folder) / f"{rank}.part"
    part.write_bytes(content)
    part.rename(part.with_suffix(".ended"))


def _endings(job: Job) -> list[_Ending]:
    """The notes of the processes here, the first one first."""
    found = [pickle.loads(path.read_bytes()) for path in Path(job.folder).glob("*.ended")]
    return sorted(found, key=lambda ending: ending.when)


def _find_cause(job: Job, statuses: Sequence[int | None]) -> Exception:
    """The exception that tells why a run ended.

    Args:
        job: has the notes of the processes.
        statuses: of each process when the first failure was seen; None of those that ran.
    """
    for number, status in enumerate(statuses):
        if status is not None and status < 0:
            # The others fail as well, for want of this one.
            return RuntimeError(
                f"Process {number} of this machine was ended by {Signals(-status).name}, without "
                "a Python error. Killed from outside, or out of memory?"
            )
    failures = [e for e in _endings(job) if not isinstance(e.error, RunInterrupted)]
    if not failures:
        number = next(i for i, status in enumerate(statuses) if status)
        return RuntimeError(
            f"Process {number} of this machine ended before it could begin; its own message "
            "stands above."
        )
    # The others fail once they miss the first, so the first in time is the cause.
    first = failures[0]
    report = RuntimeError(f"Rank {first.rank} of {job.world_size} failed:\n\n{first.trace}")
    if not isinstance(first.error, UserError):
        return report
    first.error.__cause__ = report
    return first.error
