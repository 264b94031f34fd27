"""join_group: give a process its device and make it a member of the group of all processes."""

from datetime import timedelta
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

from d2lite.utils import comm
from d2lite.utils.threads import is_number_chosen


class Place(NamedTuple):
    """Which one of a run's processes this is.

    Attributes:
        rank: its number among all.
        world_size: number of processes on all machines.
        local_rank: its number on its machine.
        local_size: number of processes on its machine.
    """

    rank: int
    world_size: int
    local_rank: int
    local_size: int


def join_group(
    place: Place, timeout: timedelta, *, store: Any = None, init_method: str = ""
) -> None:
    """Join the group of all processes, and that of this machine's.

    Args:
        place: of this process.
        timeout: how long processes wait for each other.
        store: through which they find each other.
        init_method: address by which they do, in place of the store.
    """
    choose_device(place.local_rank, place.local_size)
    dist.init_process_group(
        group_backend(),
        rank=place.rank,
        world_size=place.world_size,
        timeout=timeout,
        **({"init_method": init_method} if init_method else {"store": store}),
    )
    comm.create_local_process_group(place.local_size)
    comm.synchronize()


def group_backend() -> str:
    """The backend of the group: gloo for tensors on the CPU, nccl for those on a GPU."""
    # Both, so that MODEL.DEVICE cpu works on a machine with GPUs.
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"


def choose_device(local_rank: int, local_size: int) -> None:
    """Give this process the GPU of its number, or its share of the cores.

    Args:
        local_rank: number of this process on its machine.
        local_size: number of processes on its machine.
    """
    if torch.cuda.is_available():
        # Slurm may show each process its own GPU alone, which is then number 0.
        torch.cuda.set_device(local_rank if torch.cuda.device_count() > 1 else 0)
    elif not is_number_chosen():
        # Else each process starts a thread for every core, and together they are slow.
        torch.set_num_threads(max(1, torch.get_num_threads() // local_size))
