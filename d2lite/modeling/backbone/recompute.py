"""Blocks whose activations are computed again in the backward pass: less memory, more time."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.utils.checkpoint import checkpoint

from d2lite.layers import DropBlock

# Layers that draw random numbers. Of other blocks the generators are not kept, which takes time.
_DRAWING = (DropBlock, _DropoutNd)


class RecomputedSequential(nn.Sequential):
    """Blocks one after another, of which only the inputs are kept for the backward pass.

    Results and gradients are those of `nn.Sequential`, and batch norms count each batch once.
    """

    def forward(self, input: Tensor) -> Tensor:
        """What the last block returns."""
        if not torch.is_grad_enabled():
            for block in self:
                input = block(input)
            return input
        for block in self:
            input = checkpoint(
                block,
                input,
                use_reentrant=False,
                preserve_rng_state=any(isinstance(part, _DRAWING) for part in block.modules()),
                context_fn=partial(_contexts, block),
            )
        return input


def _contexts(
    block: nn.Module,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Around the first pass through a block, and around the second."""
    return nullcontext(), _without_statistics(block)


@contextmanager
def _without_statistics(block: nn.Module) -> Iterator[None]:
    """Inside, batch norms average their statistics into copies, which are thrown away."""
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.training]
    kept = [dict(norm.named_buffers(recurse=False)) for norm in norms]
    for norm, buffers in zip(norms, kept, strict=True):
        for name, buffer in buffers.items():
            setattr(norm, name, buffer.clone())
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)
