"""Communication between the processes of one training: ranks, barriers, gathers, reductions.

All of it also works without a process group, as in a run of one process.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from .errors import ConfigError, StateError

__all__ = [
    "all_gather",
    "create_local_process_group",
    "gather",
    "get_host_group",
    "get_local_process_group",
    "get_local_rank",
    "get_local_size",
    "get_rank",
    "get_world_size",
    "is_main_process",
    "reduce_dict",
    "share_buffers",
    "shared_random_seed",
    "synchronize",
    "unwrap",
]

T = TypeVar("T")
Group = dist.ProcessGroup

# Groups belong to the world they were made in; a later world in the same process makes new ones.
# Launchers of others set the first one by itself.
_LOCAL_PROCESS_GROUP: Any = None
_local_world: Any = None
_object_group: tuple[Any, Any] | None = None


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def get_world_size() -> int:
    """Number of processes on all machines."""
    return dist.get_world_size() if _is_distributed() else 1


def get_rank() -> int:
    """Number of this process among all, from 0."""
    return dist.get_rank() if _is_distributed() else 0


def is_main_process() -> bool:
    """Whether this is the process that writes files and prints on the console."""
    return get_rank() == 0


def create_local_process_group(num_workers_per_machine: int) -> None:
    """Make a group of the processes of each machine; every process must call this once.

    Args:
        num_workers_per_machine: processes on each machine; ranks count machine by machine.

    Raises:
        StateError: if there is no process group yet.
        ConfigError: if the number of processes is not a multiple of `num_workers_per_machine`.
    """
    global _LOCAL_PROCESS_GROUP, _local_world
    if not _is_distributed():
        raise StateError("Call torch.distributed.init_process_group (or launch) first.")
    world_size = dist.get_world_size()
    if num_workers_per_machine < 1 or world_size % num_workers_per_machine:
        raise ConfigError(
            f"{world_size} processes cannot be {num_workers_per_machine} on every machine; "
            "give the number of processes that each machine runs."
        )
    own_first = dist.get_rank() // num_workers_per_machine * num_workers_per_machine
    # Making a group is collective: each process makes all of them and keeps its own.
    for first in range(0, world_size, num_workers_per_machine):
        group = dist.new_group(list(range(first, first + num_workers_per_machine)))
        if first == own_first:
            _LOCAL_PROCESS_GROUP, _local_world = group, dist.group.WORLD


def get_local_process_group() -> Group:
    """The group of the processes of this machine.

    Raises:
        StateError: if `create_local_process_group` was not called in this world.
    """
    is_of_another_world = _local_world is not None and _local_world is not dist.group.WORLD
    if _LOCAL_PROCESS_GROUP is None or not _is_distributed() or is_of_another_world:
        raise StateError(
            "There is no group of this machine's processes. d2lite.engine.launch makes one; where "
            "you start processes yourself, call comm.create_local_process_group(n) in each."
        )
    return cast(Group, _LOCAL_PROCESS_GROUP)


def get_local_rank() -> int:
    """Number of this process on its machine, from 0."""
    return _local_number("LOCAL_RANK", dist.get_rank, alone=0)


def get_local_size() -> int:
    """Number of processes on this machine."""
    return _local_number("LOCAL_WORLD_SIZE", dist.get_world_size, alone=1)


def _local_number(variable: str, of_group: Callable[[Group], int], *, alone: int) -> int:
    """What torchrun says in an environment variable where no group of this machine was made."""
    if not _is_distributed():
        return alone
    if _LOCAL_PROCESS_GROUP is None and variable in os.environ:
        return int(os.environ[variable])
    return of_group(get_local_process_group())


def synchronize() -> None:
    """Wait until all processes have called this."""
    if get_world_size() > 1:
        # Without the device, nccl guesses it from the rank and may take another process's.
        devices = [torch.cuda.current_device()] if dist.get_backend() == "nccl" else None
        dist.barrier(device_ids=devices)


def get_host_group() -> Group | None:
    """A group of all processes for data in the host's memory; None for the default group.

    Pickles and shapes need not travel over the GPUs. All processes must make the first call.
    """
    global _object_group
    if dist.get_backend() != "nccl":
        return None
    if _object_group is None or _object_group[0] is not dist.group.WORLD:
        made: Any = dist.new_group(backend="gloo")
        _object_group = (dist.group.WORLD, made)
    return cast(Group, _object_group[1])


# The name in detectron2.
_get_global_gloo_group = get_host_group


def all_gather(data: T, group: Group | None = None) -> list[T]:
    """Give every process the data of all.

    Args:
        data: anything that pickles.
        group: the processes that take part; all of them if None. Best a gloo group.

    Returns:
        The data of each process, in the order of ranks.
    """
    members = _members(group)
    if members is None:
        return [data]
    received: list[Any] = [None] * dist.get_world_size(members)
    dist.all_gather_object(received, data, group=members)
    return received


def gather(data: T, dst: int = 0, group: Group | None = None) -> list[T]:
    """Give one process the data of all.

    Args:
        data: anything that pickles.
        dst: rank of the process that gets it.
        group: the processes that take part; all of them if None. Best a gloo group.

    Returns:
        In process `dst` the data of each process, in the order of ranks; elsewhere an empty list.
    """
    members = _members(group)
    if members is None:
        return [data]
    received: list[Any] = [None] * dist.get_world_size(members) if get_rank() == dst else []
    dist.gather_object(data, received or None, dst=dst, group=members)
    return received


def _members(group: Group | None) -> Group | None:
    """The processes that exchange data; None where this one is alone."""
    if get_world_size() == 1:
        return None
    members = group or get_host_group() or dist.group.WORLD
    return None if dist.get_world_size(members) == 1 else members


def shared_random_seed() -> int:
    """A number in [0, 2^31) that is the same in all processes, drawn by numpy in the first.

    Every process must call it.
    """
    return all_gather(int(np.random.randint(2**31)))[0]


def share_buffers(model: nn.Module) -> None:
    """Give all processes the main one's buffers, such as the statistics of batch norm.

    Each process measures those of its own images. Only the main one's are saved, and an evaluation
    in which every process had its own would be one of several models.

    Args:
        model: its buffers are changed in place; every process has to call this.
    """
    if get_world_size() == 1:
        return
    kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for buffer in model.buffers():
        kinds.setdefault((buffer.dtype, buffer.device), []).append(buffer)
    with torch.no_grad():
        for buffers in kinds.values():
            packed = torch.cat([buffer.reshape(-1) for buffer in buffers])
            dist.broadcast(packed, src=0)
            for buffer, part in zip(buffers, _unpack(packed, buffers), strict=True):
                buffer.copy_(part)


def reduce_dict(input_dict: dict[str, Tensor], average: bool = True) -> dict[str, Tensor]:
    """Sum or average tensors of equal names over all processes, in one message.

    Args:
        input_dict: tensors of any shapes, on one device; the same names and shapes everywhere.
        average: divide by the number of processes.

    Returns:
        In the main process the detached results, elsewhere tensors without a meaning; of one
        process `input_dict` itself.
    """
    world_size = get_world_size()
    if world_size == 1 or not input_dict:
        return input_dict
    # Processes may hold the names in another order, but must agree on what travels where.
    names = sorted(input_dict)
    tensors = [input_dict[name].detach() for name in names]
    packed = torch.cat([tensor.reshape(-1).float() for tensor in tensors])
    dist.reduce(packed, dst=0)
    if average:
        packed /= world_size
    return dict(zip(names, _unpack(packed, tensors), strict=True))


def _unpack(packed: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Parts of a flat tensor, in the shapes of the tensors that it was made of."""
    parts = torch.split(packed, [tensor.numel() for tensor in like])
    return [part.view(tensor.shape) for part, tensor in zip(parts, like, strict=True)]


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside of DistributedDataParallel or DataParallel; else the model itself."""
    while isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
        model = model.module
    return model
