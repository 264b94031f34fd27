"""Mask R-CNN whose heads see boxes of all processes mixed, so that a batch is not of one image."""

import torch
from torch import Tensor
from torch.distributed.nn.functional import all_gather

from d2lite.modeling.roi_heads import FastRCNNConvFCHead, MaskRCNNConvUpsampleHead
from d2lite.utils import comm

from .recipe import head_with


def _all_rows(rows: Tensor, counts: list[int]) -> Tensor:
    """The rows of all processes, in the order of the processes; gradients flow back."""
    padded = torch.cat([rows, rows.new_zeros(max(counts) - len(rows), *rows.shape[1:])])
    gathered = all_gather(padded)
    return torch.cat([part[:count] for part, count in zip(gathered, counts, strict=True)])


def _on_mixed_rows(function, rows: Tensor) -> Tensor:
    """Apply `function` to as many rows as there are, drawn from those of all processes."""
    if comm.get_world_size() == 1:
        return function(rows)
    counts = comm.all_gather(len(rows))
    generator = torch.Generator().manual_seed(comm.shared_random_seed())
    order = torch.randperm(sum(counts), generator=generator).to(rows.device)
    rank = comm.get_rank()
    first = sum(counts[:rank])
    mine = slice(first, first + counts[rank])
    results = _all_rows(function(_all_rows(rows, counts)[order[mine]]), counts)
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
