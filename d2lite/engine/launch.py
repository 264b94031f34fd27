"""launch: run one function in as many processes as asked for, joined in one process group."""

import datetime
import logging
import os
import pickle
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import ProcessException, ProcessExitedException, start_processes

from d2lite.utils import comm
from d2lite.utils.errors import ConfigError, DeviceError, UserError
from d2lite.utils.logger import append_to_log_file

__all__ = ["DEFAULT_TIMEOUT", "launch"]

DEFAULT_TIMEOUT = datetime.timedelta(minutes=30)

_logger = logging.getLogger(__name__)

_TORCHRUN_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


class _Job(NamedTuple):
    """What every process must know to join and to work."""

    main_func: Callable[..., Any]
    args: Sequence[Any]
    num_per_machine: int
    world_size: int
    first_rank: int
    dist_url: str | None
    store_port: int
    timeout: datetime.timedelta
    failure_folder: str


class _Failure(NamedTuple):
    """How one process ended: error is None where it could not be pickled."""

    when: float
    rank: int
    trace: str
    error: UserError | None


def launch(
    main_func: Callable[..., Any],
    num_gpus_per_machine: int,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str | None = None,
    args: Sequence[Any] = (),
    timeout: datetime.timedelta = DEFAULT_TIMEOUT,
) -> Any:
    """Run `main_func(*args)` in every process of a training.

    Where torchrun started this process, the function runs right here, in torchrun's group.
    Otherwise one process a GPU is started (on a machine without CUDA: as many CPU processes), and
    a failure in one of them ends all.

    Args:
        main_func: a function of a module (not a lambda), since new processes must import it.
        num_gpus_per_machine: processes on this machine, each with a GPU of its own.
        num_machines: machines; launch is called on each.
        machine_rank: number of this machine, from 0.
        dist_url: where the processes meet, such as "tcp://host:port" (of machine 0). "auto" or
            None find a free port, for one machine alone.
        args: arguments of `main_func`.
        timeout: how long processes wait for each other before they give up.

    Returns:
        What `main_func` returns if it ran in this process, else None.

    Raises:
        ConfigError: if the numbers don't fit together, or several machines have no `dist_url`.
        DeviceError: if this machine has fewer GPUs.
        UserError: what a process raised, of the same type and message.
        RuntimeError: if a process failed otherwise; the text holds its traceback.
    """
    if all(name in os.environ for name in _TORCHRUN_VARIABLES) and not dist.is_initialized():
        return _run_under_torchrun(main_func, args, num_gpus_per_machine, timeout)
    _check(num_gpus_per_machine, num_machines, machine_rank, dist_url)
    world_size = num_machines * num_gpus_per_machine
    if world_size == 1:
        return main_func(*args)
    with tempfile.TemporaryDirectory(prefix="d2lite_launch_") as folder:
        store = None
        if dist_url in (None, "auto"):
            # Held by this process: the port is never free between its choice and its use.
            store = dist.TCPStore(  # type: ignore[attr-defined]
                "127.0.0.1", 0, is_master=True, wait_for_workers=False
            )
        job = _Job(
            main_func,
            args,
            num_gpus_per_machine,
            world_size,
            machine_rank * num_gpus_per_machine,
            dist_url,
            store.port if store is not None else 0,
            timeout,
            folder,
        )
        _supervise(job)
    return None


def _check(per_machine: int, machines: int, machine_rank: int, dist_url: str | None) -> None:
    if per_machine < 1 or machines < 1 or not 0 <= machine_rank < machines:
        raise ConfigError(
            f"--num-gpus {per_machine} --num-machines {machines} --machine-rank {machine_rank} "
            "don't fit together: the first two must be 1 or more, and machines count from 0."
        )
    if machines > 1 and dist_url in (None, "auto"):
        raise ConfigError(
            f"{machines} machines need a place to meet: give every one the same --dist-url "
            "tcp://HOST:PORT, where HOST is the machine of rank 0."
        )
    found = torch.cuda.device_count()
    if torch.cuda.is_available() and per_machine > found:
        raise DeviceError(
            f"--num-gpus {per_machine}, but this machine has {found} (CUDA_VISIBLE_DEVICES is "
            f"{os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')}). Ask for {found} or fewer."
        )


def _run_under_torchrun(
    main_func: Callable[..., Any],
    args: Sequence[Any],
    num_gpus: int,
    timeout: datetime.timedelta,
) -> Any:
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))
    if num_gpus not in (1, local_size):
        _logger.warning(
            "--num-gpus %d is not used: torchrun started %d processes here.",
            num_gpus,
            local_size,
        )
    _choose_device(int(os.environ["LOCAL_RANK"]), local_size)
    dist.init_process_group(_backend(), init_method="env://", timeout=timeout)
    try:
        comm.create_local_process_group(local_size)
        return main_func(*args)
    except BaseException:
        # torchrun's own report comes without the trace of a process that isn't the first.
        _logger.debug("rank %d failed", comm.get_rank(), exc_info=True)
        raise
    finally:
        dist.destroy_process_group()


def _backend() -> str:
    # Tensors of the CPU can travel too, so that MODEL.DEVICE cpu works on a machine with GPUs.
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"


def _choose_device(local_rank: int, local_size: int) -> None:
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank)
    elif "OMP_NUM_THREADS" not in os.environ:
        # Each process would start a thread for every core and they would fight for them.
        torch.set_num_threads(max(1, torch.get_num_threads() // local_size))


def _work(local_rank: int, job: _Job) -> None:
    """Body of a started process: join, run, leave; note down a failure for the parent."""
    rank = job.first_rank + local_rank
    try:
        _choose_device(local_rank, job.num_per_machine)
        _join(rank, job)
        comm.create_local_process_group(job.num_per_machine)
        comm.synchronize()
        job.main_func(*job.args)
        # Only here: after a failure the others may hang in a collective, and leaving would wait
        # for them. The end of the process frees everything as well.
        comm.synchronize()
        dist.destroy_process_group()
    except Exception as err:
        _note_failure(Path(job.failure_folder), rank, err)
        raise


def _join(rank: int, job: _Job) -> None:
    if job.store_port:
        store = dist.TCPStore(  # type: ignore[attr-defined]
            "127.0.0.1", job.store_port, timeout=job.timeout
        )
        dist.init_process_group(
            _backend(),
            store=store,
            rank=rank,
            world_size=job.world_size,
            timeout=job.timeout,
        )
        return
    dist.init_process_group(
        _backend(),
        init_method=job.dist_url,
        rank=rank,
        world_size=job.world_size,
        timeout=job.timeout,
    )


def _note_failure(folder: Path, rank: int, err: Exception) -> None:
    when, trace = time.time(), traceback.format_exc()
    append_to_log_file(trace)
    failure = _Failure(when, rank, trace, err if isinstance(err, UserError) else None)
    try:
        content = pickle.dumps(failure)
    except Exception:  # a user's own error type may hold anything
        content = pickle.dumps(failure._replace(error=None))
    part = folder / f"{rank}.part"
    part.write_bytes(content)
    part.rename(folder / f"{rank}.failure")


def _supervise(job: _Job) -> None:
    processes = start_processes(  # type: ignore[no-untyped-call]
        _work, args=(job,), nprocs=job.num_per_machine, join=False, start_method="spawn"
    )
    try:
        while not processes.join(grace_period=5):
            pass
    except ProcessException as ended:
        noted = [pickle.loads(p.read_bytes()) for p in Path(job.failure_folder).glob("*.failure")]
        died_by_signal = isinstance(ended, ProcessExitedException) and ended.signal_name
        if died_by_signal or not noted:
            raise RuntimeError(
                f"Process {ended.error_index} of this machine ended without a Python error: "
                f"{ended}. Killed from outside, or out of memory?"
            ) from None
        # The others fail as well once they miss the first, so the first in time is the cause.
        first: _Failure = min(noted)
        report = RuntimeError(f"Rank {first.rank} of {job.world_size} failed:\n\n{first.trace}")
        if first.error is not None:
            raise first.error from report
        raise report from None
