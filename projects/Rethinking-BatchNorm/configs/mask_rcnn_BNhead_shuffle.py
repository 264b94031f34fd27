"""Mask R-CNN whose heads see boxes of all processes mixed, so that a batch is not of one image."""

import torch
from torch import Tensor, distributed

from d2lite.modeling.roi_heads import FastRCNNConvFCHead, MaskRCNNConvUpsampleHead
from d2lite.utils import comm

from .recipe import head_with


class _AllRows(torch.autograd.Function):
    """Own rows to those of all processes, in the order of the processes."""

    @staticmethod
    def forward(ctx, rows: Tensor, counts: list[int]) -> Tensor:
        """(counts[rank], ...) to (sum(counts), ...)."""
        first = sum(counts[: comm.get_rank()])
        ctx.mine = slice(first, first + len(rows))
        result = rows.new_zeros(sum(counts), *rows.shape[1:])
        result[ctx.mine] = rows
        distributed.all_reduce(result)
        return result

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        """What all processes made of the own rows."""
        total = grad.clone()
        distributed.all_reduce(total)
        return total[ctx.mine], None


def _on_mixed_rows(function, rows: Tensor) -> Tensor:
    """Apply `function` to as many rows as there are, drawn from those of all processes."""
    if comm.get_world_size() == 1:
        return function(rows)
    counts = comm.all_gather(len(rows))
    generator = torch.Generator().manual_seed(comm.shared_random_seed())
    order = torch.randperm(sum(counts), generator=generator).to(rows.device)
    first = sum(counts[: comm.get_rank()])
    mine = slice(first, first + len(rows))
    results = _AllRows.apply(function(_AllRows.apply(rows, counts)[order[mine]]), counts)
    return results[order.argsort()[mine]]


class FastRCNNConvFCHeadWithShuffle(FastRCNNConvFCHead):
    """A box head that sees rows of all processes in training."""

    def forward(self, x: Tensor) -> Tensor:
        """(R, C, H, W) to (R, width)."""
        apply = super().forward
        return _on_mixed_rows(apply, x) if self.training else apply(x)


class MaskRCNNConvUpsampleHeadWithShuffle(MaskRCNNConvUpsampleHead):
    """A mask head that sees rows of all processes in training."""

    def layers(self, x: Tensor) -> Tensor:
        """(R, C, H, W) to (R, classes, 2 * H, 2 * W)."""
        apply = super().layers
        return _on_mixed_rows(apply, x) if self.training else apply(x)


dataloader, lr_multiplier, model, optimizer, train = head_with("BN")
model.roi_heads.box_head._target_ = FastRCNNConvFCHeadWithShuffle
model.roi_heads.mask_head._target_ = MaskRCNNConvUpsampleHeadWithShuffle
