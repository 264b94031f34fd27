"""launch: run one function in as many processes as asked for, joined in one process group."""

import datetime
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from d2lite.utils.errors import ConfigError, DeviceError, RunInterrupted

from .launching.environment import Started, read_environment, store_after_restart
from .launching.group import Place, join_group
from .launching.processes import Job, run_processes
from .launching.rendezvous import Rendezvous

__all__ = ["DEFAULT_TIMEOUT", "launch"]

DEFAULT_TIMEOUT = datetime.timedelta(minutes=30)

_logger = logging.getLogger(__name__)


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

    Where torchrun or Slurm's srun started one process for each GPU, the function runs in this one,
    in the group of all of them. Otherwise one process a GPU is started (on a machine without
    CUDA: as many CPU processes), and a failure in one of them ends all, on all machines.

    Args:
        main_func: a function of a module (not a lambda), since new processes must import it.
        num_gpus_per_machine: processes on this machine, each with a GPU of its own. 0 on one
            machine is one process too, on the device that MODEL.DEVICE names.
        num_machines: machines; launch is called on each.
        machine_rank: number of this machine, from 0.
        dist_url: where the processes find each other, such as "tcp://host:port" (of machine 0).
            "auto" or None find a free port, for one machine alone. Under Slurm an address or
            `num_machines` says that srun started one process for each machine, not for each GPU.
        args: arguments of `main_func`.
        timeout: how long processes wait for each other before they give up.

    Returns:
        What `main_func` returns if it ran in this process, else None.

    Raises:
        ConfigError: if the numbers don't fit together, or several machines have no `dist_url`.
        DeviceError: if this machine has fewer GPUs.
        UserError: what a process raised, of the same type and message.
        RunInterrupted: if a signal stopped the processes after they saved.
        RuntimeError: if a process failed otherwise; the text holds its traceback.
    """
    started = None if dist.is_initialized() else read_environment()
    if started is not None and started.starter == "srun":
        started = started if num_machines == 1 and dist_url in (None, "auto") else None
    if started is not None:
        return _run_here(started, main_func, args, num_gpus_per_machine, timeout)
    if (num_gpus_per_machine, num_machines, machine_rank) == (0, 1, 0):
        num_gpus_per_machine = 1
    _check(num_gpus_per_machine, num_machines, machine_rank, dist_url)
    if num_machines * num_gpus_per_machine == 1:
        return main_func(*args)
    rendezvous = Rendezvous(
        dist_url, num_machines=num_machines, machine_rank=machine_rank, timeout=timeout
    )
    world_size = num_machines * num_gpus_per_machine
    first = Place(machine_rank * num_gpus_per_machine, world_size, 0, num_gpus_per_machine)
    job = Job(main_func, args, first, rendezvous.address, timeout)
    try:
        run_processes(job, rendezvous)
    finally:
        rendezvous.leave()
    return None


def _check(per_machine: int, machines: int, machine_rank: int, dist_url: str | None) -> None:
    if per_machine < 1 or machines < 1 or not 0 <= machine_rank < machines:
        raise ConfigError(
            f"--num-gpus {per_machine} --num-machines {machines} --machine-rank {machine_rank} "
            "don't fit together: the first two must be 1 or more, and machines count from 0."
        )
    if machines > 1 and dist_url in (None, "auto"):
        raise ConfigError(
            f"{machines} machines need an address: give every one the same --dist-url "
            "tcp://HOST:PORT, where HOST is the machine of rank 0."
        )
    _check_gpus(per_machine, f"--num-gpus {per_machine}, but this machine has")


def _check_gpus(wanted: int, found_text: str) -> None:
    found = torch.cuda.device_count()
    if torch.cuda.is_available() and wanted > found:
        raise DeviceError(
            f"{found_text} {found} (CUDA_VISIBLE_DEVICES is "
            f"{os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')}). Ask for {found} or fewer."
        )


def _run_here(
    started: Started,
    main_func: Callable[..., Any],
    args: Sequence[Any],
    num_gpus: int,
    timeout: datetime.timedelta,
) -> Any:
    """Run the function in this process, which another program started as one of several."""
    local_size = started.place.local_size
    if num_gpus not in (1, local_size):
        _logger.warning(
            "--num-gpus %d is not used: %s started %d processes here.",
            num_gpus,
            started.starter,
            local_size,
        )
    if started.starter == "torchrun" or torch.cuda.device_count() != 1:
        found_text = f"{started.starter} started {local_size} processes, but this machine has"
        _check_gpus(local_size, found_text)
    store = store_after_restart(timeout)
    init_method = "" if store is not None else started.init_method
    join_group(started.place, timeout, store=store, init_method=init_method)
    try:
        result = main_func(*args)
    except RunInterrupted:
        dist.destroy_process_group()
        raise
    except BaseException as error:
        # Without the traceback torchrun's own report names the exit status alone.
        get_error_handler().record_exception(error)
        if dist.get_backend() == "gloo" or dist.get_world_size() == 1:
            # nccl's way to leave waits for processes that may hang in a collective.
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()
    return result
