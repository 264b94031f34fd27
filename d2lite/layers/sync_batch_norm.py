"""Batch norm over the batches of all processes, where torch's own cannot be used.

`torch.nn.SyncBatchNorm` refuses to compute on the CPU.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..utils.errors import ArgumentError, ConfigError


class _SumOverProcesses(torch.autograd.Function):
    """Sum a tensor over all processes; the gradient is summed likewise."""

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        """The sum of the tensors of all processes."""
        return _sum(local)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """The sum of the gradients of all processes."""
        return _sum(grad)


def _sum(local: Tensor) -> Tensor:
    total = local.clone()
    dist.all_reduce(total)
    return total


def _is_shared(norm: _BatchNorm) -> bool:
    """Whether a norm needs the batches of other processes now."""
    several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
    return norm.training and several


def _count_batch(norm: _BatchNorm) -> float:
    """Count one more batch; returns its share in the running statistics."""
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    if norm.momentum is not None:
        return norm.momentum
    return 1.0 / float(norm.num_batches_tracked or 1)


class NaiveSyncBatchNorm(nn.BatchNorm2d):
    """Batch norm over the batches of all processes, on any backend and for uneven batches.

    In evaluation or with one process it is `BatchNorm2d`. Its running variance follows the
    biased estimate.
    """

    def __init__(self, *args: Any, stats_mode: str = "", **kwargs: Any) -> None:
        """Make the layer.

        Args:
            *args: as `torch.nn.BatchNorm2d`.
            stats_mode: "" weighs every process the same, "N" weighs it by its batch size, which
                may then be 0.
            **kwargs: as `torch.nn.BatchNorm2d`.
        """
        super().__init__(*args, **kwargs)
        if stats_mode not in ("", "N"):
            raise ConfigError(
                f"stats_mode of NaiveSyncBatchNorm is {stats_mode!r}; "
                "use '' (equal processes) or 'N' (weighted by batch size)."
            )
        self._stats_mode = stats_mode

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (N, C, H, W) by the statistics of all processes' inputs."""
        if not _is_shared(self):
            return super().forward(input)
        # Sums over a half-precision map overflow.
        maps = input.float()
        images = maps.shape[0]
        if images == 0 and self._stats_mode == "":
            raise ArgumentError(
                "NaiveSyncBatchNorm got an empty batch in one process; "
                "use the norm 'naiveSyncBN_N', which weighs processes by batch size."
            )
        share = float(images) if self._stats_mode == "N" else 1.0
        cells = max(1, maps.numel() // self.num_features)
        moments = torch.stack([maps.sum((0, 2, 3)), maps.square().sum((0, 2, 3))]) / cells
        summed = _SumOverProcesses.apply(
            torch.cat([moments.flatten() * share, moments.new_full((1,), share)])
        )
        weight_sum = summed[-1]
        mean, mean_square = (summed[:-1] / weight_sum.clamp(min=1)).view(2, -1)
        # Where values differ little from their mean, the difference may round to less than 0.
        variance = (mean_square - mean.square()).clamp(min=0)
        # Where no process had an image there is nothing to learn from.
        self._track(mean.detach(), variance.detach(), weight_sum.detach().clamp(max=1))
        scale = (variance + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        shift = -mean * scale
        if self.bias is not None:
            shift = shift + self.bias
        normalised = torch.addcmul(shift[:, None, None], maps, scale[:, None, None])
        return normalised.to(input.dtype)

    def _track(self, mean: Tensor, variance: Tensor, seen: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        step = seen * _count_batch(self)
        self.running_mean.add_((mean - self.running_mean) * step)
        self.running_var.add_((variance - self.running_var) * step)


class CpuSyncBatchNorm(_BatchNorm):
    """What `torch.nn.SyncBatchNorm` computes: statistics over all cells of all processes."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ArgumentError(
                f"Batch norm needs (N, C, ...) maps, found shape {tuple(input.shape)}"
            )

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (N, C, ...) by the statistics of all processes' inputs."""
        if not _is_shared(self):
            return super().forward(input)
        self._check_input_dim(input)
        maps = input.float()
        axes = [axis for axis in range(maps.dim()) if axis != 1]
        shape = [-1 if axis == 1 else 1 for axis in range(maps.dim())]
        cells = maps.new_full((1,), maps.numel() // self.num_features)
        # Two rounds: the variance as a difference of large sums loses what small ones hold.
        summed = _SumOverProcesses.apply(torch.cat([maps.sum(axes), cells]))
        count = summed[-1].detach().clamp(min=1)
        mean = summed[:-1] / count
        centred = maps - mean.view(shape)
        variance = _SumOverProcesses.apply(centred.square().sum(axes)) / count
        self._track(mean.detach(), variance.detach(), count)
        normalised = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normalised = normalised * self.weight.view(shape) + self.bias.view(shape)
        return normalised.to(input.dtype)

    def _track(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        momentum = _count_batch(self)
        unbiased = variance * (count / (count - 1).clamp(min=1))
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(unbiased, momentum)


def sync_on_cpu_(model: nn.Module) -> None:
    """Replace every `torch.nn.SyncBatchNorm` of a model on the CPU, in place.

    Parameters and statistics stay the same objects, so an optimizer may have been built before.

    Args:
        model: is not such a norm itself; its modules are replaced.
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
