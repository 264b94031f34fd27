"""What processes share about a batch, so that training does not depend on how it is divided.

A loss that is a mean over things whose number differs from process to process (foreground
regions, visible keypoints) is not the mean of the processes' means. Inside `sharing_means`, which
a trainer uses around the forward pass of a step, the numbers are added up over processes; the
gradients that are averaged afterwards are then those of one process with the whole batch. Images
are padded to one size in all of them, since the padding decides which anchors there are.
Elsewhere, and in a run of one process, everything here does nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from d2lite.utils import comm

_is_open = False


@contextmanager
def sharing_means() -> Iterator[None]:
    """Inside, all processes compute the losses of one batch, each those of its part.

    Every process has to be inside, and to go through the same losses in the same order.
    """
    global _is_open
    before, _is_open = _is_open, True
    try:
        yield
    finally:
        _is_open = before


def num_sharing() -> int:
    """Number of processes that share means now; 1 outside of `sharing_means`."""
    return comm.get_world_size() if _is_open else 1


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a value over the processes that share means; without a gradient.

    Args:
        value: of any shape, the same in all processes.

    Returns:
        float32 of that shape; the value itself where nothing is shared.
    """
    sharing = num_sharing()
    if sharing == 1:
        return value
    total = value.detach().float().clone()
    dist.all_reduce(total)
    return total / sharing


def mean_weight(count: Tensor | int, like: Tensor) -> Tensor | float:
    """The factor that makes a process's mean its part of the mean over all processes.

    Args:
        count: how many things this process took the mean of.
        like: a tensor on the device of the loss.

    Returns:
        count / (mean of all counts), 0 where there is nothing at all; 1.0 where nothing is shared.
    """
    if num_sharing() == 1:
        return 1.0
    own = torch.as_tensor(count, dtype=torch.float32, device=like.device)
    mean = mean_over_processes(own)
    return own / mean.clamp(min=1.0 / num_sharing())


def padded_alike(batch: Tensor, value: float = 0.0) -> Tensor:
    """Pad a batch of maps at the right and bottom to the largest of those that share means.

    It costs no time where steps are made together: all wait for the largest batch anyway.

    Args:
        batch: (..., H, W).
        value: what the padding is filled with.

    Returns:
        (..., H', W'); the batch itself where nothing is shared or it is the largest.
    """
    if num_sharing() == 1:
        return batch
    height, width = batch.shape[-2:]
    sides = torch.tensor([height, width])
    # Through the host, which has to know the sides before it can go on.
    dist.all_reduce(sides, dist.ReduceOp.MAX, group=comm.get_host_group())
    right, below = int(sides[1]) - width, int(sides[0]) - height
    return F.pad(batch, (0, right, 0, below), value=value) if right or below else batch
