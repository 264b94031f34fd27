"""Batch norm over all processes where they compute on the CPU, which torch's own refuses to."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class SumOverProcesses(torch.autograd.Function):
    """Sum a tensor over all processes; the gradient is summed likewise."""

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        """Add up what the processes have."""
        total = local.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Add up what the processes' losses say of the sum."""
        total = grad.clone()
        dist.all_reduce(total)
        return total


class CpuSyncBatchNorm(_BatchNorm):
    """What `torch.nn.SyncBatchNorm` computes: statistics over all cells of all processes."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"Batch norm needs (N, C, ...) maps, found shape {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (N, C, ...) by the statistics of all processes' inputs."""
        several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        if not (self.training and several):
            return super().forward(input)
        self._check_input_dim(input)
        maps = input.float()
        axes = [axis for axis in range(maps.dim()) if axis != 1]
        shape = [-1 if axis == 1 else 1 for axis in range(maps.dim())]
        cells = maps.new_full((1,), maps.numel() // self.num_features)
        # Two rounds: the variance as a difference of large sums loses what small ones hold.
        summed = SumOverProcesses.apply(torch.cat([maps.sum(axes), cells]))
        count = summed[-1].detach().clamp(min=1)
        mean = summed[:-1] / count
        centred = maps - mean.view(shape)
        variance = SumOverProcesses.apply(centred.square().sum(axes)) / count
        self._track(mean.detach(), variance.detach(), count)
        normalised = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normalised = normalised * self.weight.view(shape) + self.bias.view(shape)
        return normalised.to(input.dtype)

    def _track(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        momentum = self.momentum
        if momentum is None:
            momentum = 1.0 / float(self.num_batches_tracked or 1)
        unbiased = variance * (count / (count - 1).clamp(min=1))
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(unbiased, momentum)


def sync_on_cpu_(model: nn.Module) -> None:
    """Replace every `torch.nn.SyncBatchNorm` of a model on the CPU, in place.

    Parameters and statistics stay the same objects, so an optimizer may have been built before.

    Args:
        model: has to be something else itself.
    """
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.SyncBatchNorm):
                setattr(module, name, _on_cpu(child))


def _on_cpu(norm: nn.SyncBatchNorm) -> CpuSyncBatchNorm:
    replaced = CpuSyncBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine)
    replaced.track_running_stats = norm.track_running_stats
    replaced.weight, replaced.bias = norm.weight, norm.bias
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        setattr(replaced, name, getattr(norm, name))
    replaced.train(norm.training)
    return replaced
