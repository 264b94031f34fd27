"""Normalisation layers, and `get_norm`, which makes one from its configuration name."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from ..utils.errors import ConfigError
from .frozen_batch_norm import FrozenBatchNorm2d
from .sync_batch_norm import SumOverProcesses

__all__ = [
    "CycleBatchNormList",
    "FrozenBatchNorm2d",
    "LayerNorm",
    "NaiveSyncBatchNorm",
    "get_norm",
]

NormFactory = Callable[[int], nn.Module]


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
        several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        if not (self.training and several):
            return super().forward(input)
        # Sums over a half-precision map overflow.
        maps = input.float()
        images = maps.shape[0]
        if images == 0 and self._stats_mode == "":
            raise ValueError(
                "NaiveSyncBatchNorm got an empty batch in one process; "
                "use the norm 'naiveSyncBN_N', which weighs processes by batch size."
            )
        share = float(images) if self._stats_mode == "N" else 1.0
        cells = max(1, maps.numel() // self.num_features)
        moments = torch.stack([maps.sum((0, 2, 3)), maps.square().sum((0, 2, 3))]) / cells
        summed = SumOverProcesses.apply(
            torch.cat([moments.flatten() * share, moments.new_full((1,), share)])
        )
        weight_sum = summed[-1]
        mean, mean_square = (summed[:-1] / weight_sum.clamp(min=1)).view(2, -1)
        variance = mean_square - mean.square()
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
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        momentum = self.momentum
        if momentum is None:
            momentum = 1.0 / float(self.num_batches_tracked or 1)
        self.running_mean.add_((mean - self.running_mean) * (seen * momentum))
        self.running_var.add_((variance - self.running_var) * (seen * momentum))


class CycleBatchNormList(nn.ModuleList):
    """One norm an input, taken in turn: statistics apart, weight and bias shared.

    For heads that run on several feature levels, whose statistics differ.
    """

    def __init__(
        self, length: int, bn_class: type[nn.Module] = nn.BatchNorm2d, **kwargs: Any
    ) -> None:
        """Make the norms.

        Args:
            length: how many inputs come in one round.
            bn_class: the norm; it must take `affine`.
            **kwargs: its arguments, `num_features` among them.
        """
        self._affine = kwargs.pop("affine", True)
        super().__init__([bn_class(**kwargs, affine=False) for _ in range(length)])
        if self._affine:
            channels = kwargs["num_features"]
            self.weight = nn.Parameter(torch.ones(channels))
            self.bias = nn.Parameter(torch.zeros(channels))
        self._next = 0

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, H, W) by the norm whose turn it is."""
        turn, self._next = self._next, (self._next + 1) % len(self)
        x = self[turn](x)
        if not self._affine:
            return x
        return torch.addcmul(self.bias[:, None, None], x, self.weight[:, None, None])

    def extra_repr(self) -> str:
        """What stands between the brackets of repr()."""
        return f"affine={self._affine}"


class LayerNorm(nn.Module):
    """Layer norm over the channels of (N, C, H, W) maps, cell by cell."""

    def __init__(self, normalized_shape: int, eps: float = 1e-6) -> None:
        """Make the layer for maps of `normalized_shape` channels."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(normalized_shape))
        self.bias = nn.Parameter(torch.zeros(normalized_shape))
        self.eps = eps
        self.normalized_shape = (normalized_shape,)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each cell of (N, C, H, W) over C."""
        channels_last = x.permute(0, 2, 3, 1)
        y = F.layer_norm(channels_last, self.normalized_shape, self.weight, self.bias, self.eps)
        return y.permute(0, 3, 1, 2)


def _group_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(32, channels)


_NORMS: dict[str, NormFactory] = {
    "BN": nn.BatchNorm2d,
    "FrozenBN": FrozenBatchNorm2d,
    "GN": _group_norm,
    "LN": LayerNorm,
    "SyncBN": nn.SyncBatchNorm,
    "naiveSyncBN": NaiveSyncBatchNorm,
    "naiveSyncBN_N": partial(NaiveSyncBatchNorm, stats_mode="N"),
    "nnSyncBN": nn.SyncBatchNorm,
}


def get_norm(norm: str | NormFactory | None, out_channels: int) -> nn.Module | None:
    """Make a normalisation layer from its name.

    Args:
        norm: a name ("" for none), a callable that makes the layer from a number of channels,
            or None.
        out_channels: channels of the map to be normalised.

    Returns:
        The layer, or None where no norm was asked for.

    Raises:
        ConfigError: if the name is unknown; the message lists the known ones.
    """
    if norm is None or norm == "":
        return None
    if not isinstance(norm, str):
        return norm(out_channels)
    if norm not in _NORMS:
        known = ", ".join(sorted(_NORMS))
        raise ConfigError(f"Unknown norm {norm!r}. Use one of {known}, or '' for none.")
    return _NORMS[norm](out_channels)
