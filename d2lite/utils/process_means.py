"""What processes share about a batch, so that training does not depend on how it is divided.

A loss that is a mean over things whose number differs from process to process (foreground
regions, visible keypoints) is not the mean of the processes' means. Inside `sharing_means`, which
a trainer uses around the forward pass of a step, the numbers are added up over processes; the
gradients that are averaged afterwards are then those of one process with the whole batch. Images
are padded to one size in all of them, since the padding decides which anchors there are.
The same holds for the passes of a step that accumulates gradients (`PassMeans`).
Elsewhere, and in a run of one process and one pass, everything here does nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from d2lite.utils import comm

# Less than any mean of counts but 0, of whatever number of processes and passes.
_LEAST = 1e-6

_is_open = False
_pass: "_OnePass | None" = None


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


class PassMeans:
    """Shares means over the passes of a batch, which gradient accumulation makes one by one.

    What the later passes have is not known in the first one. So all passes are made twice: inside
    `noting` their numbers are noted (no gradients are needed), inside `sharing` they are used.
    Both have to be inside `sharing_means` and go through the same losses in the same order.
    """

    def __init__(self, shares: Sequence[float], sides: tuple[int, int] = (0, 0)) -> None:
        """Begin a batch.

        Args:
            shares: of each pass, its part of the images; they add up to 1. The caller multiplies
                the losses of a pass by it.
            sides: height and width that images are padded to, at least.
        """
        self.sides = sides
        self._passes = [_OnePass(self, share) for share in shares]

    def noting(self, number: int) -> AbstractContextManager[None]:
        """Inside, pass `number` (from 0) notes what it counts."""
        return self._passes[number].running(is_noting=True)

    def sharing(self, number: int) -> AbstractContextManager[None]:
        """Inside, pass `number` divides by the means over all passes."""
        if len(self) == 1:
            return nullcontext()
        return self._passes[number].running(is_noting=False)

    def total(self, place: int) -> Tensor:
        """What all passes noted together, as their call number `place`."""
        noted = [one.noted[place] for one in self._passes]
        return torch.stack(noted).sum(dim=0)

    def __len__(self) -> int:
        """How many passes there are."""
        return len(self._passes)


class _OnePass:
    def __init__(self, batch: PassMeans, share: float) -> None:
        self.batch, self.share = batch, share
        self.noted: list[Tensor] = []
        self._is_noting = False
        self._place = 0

    @contextmanager
    def running(self, *, is_noting: bool) -> Iterator[None]:
        global _pass
        self._is_noting, self._place = is_noting, 0
        before, _pass = _pass, self
        try:
            yield
        finally:
            _pass = before

    def mean(self, value: Tensor) -> Tensor:
        if self._is_noting:
            self.noted.append(_process_mean(value))
            return self.noted[-1]
        self._place += 1
        return self.batch.total(self._place - 1) * self.share


def pass_share() -> float:
    """The part of the batch's images that this pass has; 1 where gradients are not accumulated."""
    return 1.0 if _pass is None else _pass.share


def own_share() -> float:
    """The part of 1 that this process and pass have in a sum over all that share means."""
    return pass_share() / comm.get_world_size() if _is_open else 1.0


def is_first_pass() -> bool:
    """Whether no pass of the same batch went before; running numbers change in this one alone."""
    return _pass is None or _pass is _pass.batch._passes[0]


def is_last_pass() -> bool:
    """Whether no pass of the same batch follows; what all passes read changes in this one alone."""
    return _pass is None or _pass is _pass.batch._passes[-1]


def num_sharing() -> int:
    """Number of processes times passes that share means now; 1 outside of `sharing_means`."""
    if not _is_open:
        return 1
    return comm.get_world_size() * (1 if _pass is None else len(_pass.batch))


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a value over the processes and passes that share means; without a gradient.

    Args:
        value: of any shape, the same in all of them.

    Returns:
        float32 of that shape; the value itself where nothing is shared. Passes are weighted by
        their shares: it is the sum over them, times the share of this one.
    """
    if num_sharing() == 1:
        return value
    return _process_mean(value) if _pass is None else _pass.mean(value)


def _process_mean(value: Tensor) -> Tensor:
    total = value.detach().float().clone()
    if comm.get_world_size() > 1:
        dist.all_reduce(total)
    return total / comm.get_world_size()


def mean_weight(count: Tensor | int, like: Tensor) -> Tensor | float:
    """The factor that makes the mean of this process and pass its part of the mean over all.

    Args:
        count: how many things the mean was taken of here.
        like: a tensor on the device of the loss.

    Returns:
        count / (mean of all counts), 0 where there is nothing at all; 1.0 where nothing is shared.
    """
    if num_sharing() == 1:
        return 1.0
    own = torch.as_tensor(count, dtype=torch.float32, device=like.device)
    mean = mean_over_processes(own)
    return own / mean.clamp(min=_LEAST)


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
    wanted = (0, 0) if _pass is None else _pass.batch.sides
    sides = torch.tensor([max(height, wanted[0]), max(width, wanted[1])])
    if comm.get_world_size() > 1:
        # Through the host, which has to know the sides before it can go on.
        dist.all_reduce(sides, dist.ReduceOp.MAX, group=comm.get_host_group())
    right, below = int(sides[1]) - width, int(sides[0]) - height
    return F.pad(batch, (0, right, 0, below), value=value) if right or below else batch
