"""launch: run one function in as many processes as asked for, joined in one process group."""

import datetime
import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from d2lite.utils import comm
from d2lite.utils.errors import ConfigError, DeviceError

from .launching.group import choose_device, group_backend
from .launching.meeting import Meeting
from .launching.processes import Job, run_processes
from .launching.stop_signals import RunInterrupted

__all__ = ["DEFAULT_TIMEOUT", "launch"]

DEFAULT_TIMEOUT = datetime.timedelta(minutes=30)

_logger = logging.getLogger(__name__)

_TORCHRUN_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


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
    a failure in one of them ends all, on all machines.

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
        RunInterrupted: if a signal stopped the processes after they saved.
        RuntimeError: if a process failed otherwise; the text holds its traceback.
    """
    if all(name in os.environ for name in _TORCHRUN_VARIABLES) and not dist.is_initialized():
        return _run_under_torchrun(main_func, args, num_gpus_per_machine, timeout)
    _check(num_gpus_per_machine, num_machines, machine_rank, dist_url)
    if num_machines * num_gpus_per_machine == 1:
        return main_func(*args)
    meeting = Meeting(
        dist_url, num_machines=num_machines, machine_rank=machine_rank, timeout=timeout
    )
    try:
        with tempfile.TemporaryDirectory(prefix="d2lite_launch_") as folder:
            job = Job(
                main_func,
                args,
                num_gpus_per_machine,
                num_machines,
                machine_rank,
                meeting.point,
                timeout,
                folder,
            )
            run_processes(job, meeting)
    finally:
        meeting.leave()
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
    _check_gpus(per_machine, f"--num-gpus {per_machine}, but this machine has")


def _check_gpus(wanted: int, found_text: str) -> None:
    found = torch.cuda.device_count()
    if torch.cuda.is_available() and wanted > found:
        raise DeviceError(
            f"{found_text} {found} (CUDA_VISIBLE_DEVICES is "
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
    _check_gpus(local_size, f"torchrun --nproc-per-node {local_size}, but this machine has")
    choose_device(int(os.environ["LOCAL_RANK"]), local_size)
    dist.init_process_group(group_backend(), init_method="env://", timeout=timeout)
    try:
        comm.create_local_process_group(local_size)
        result = main_func(*args)
    except RunInterrupted:
        dist.destroy_process_group()
        raise
    except BaseException as error:
        # torchrun's own report names the exit status alone, unless it is told the trace.
        get_error_handler().record_exception(error)
        if dist.get_backend() == "gloo" or dist.get_world_size() == 1:
            # nccl's way to leave waits for processes that may hang in a collective.
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()
    return result
