"""What a process needs before it joins a group: its device, and the way tensors travel."""

import os

import torch


def group_backend() -> str:
    """How tensors travel between processes: gloo, and nccl for those on a GPU."""
    # Tensors of the CPU can travel too, so that MODEL.DEVICE cpu works on a machine with GPUs.
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"


def choose_device(local_rank: int, local_size: int) -> None:
    """Give this process the GPU of its number, or its share of the cores.

    Args:
        local_rank: number of this process on its machine.
        local_size: number of processes on its machine.
    """
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank)
    elif "OMP_NUM_THREADS" not in os.environ:
        # Each process would start a thread for every core and they would fight for them.
        torch.set_num_threads(max(1, torch.get_num_threads() // local_size))
