"""Normalisation layers, and `get_norm`, which makes one from its configuration name."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..utils.errors import ConfigError, UnknownKeyError
from .frozen_batch_norm import FrozenBatchNorm2d
from .sync_batch_norm import NaiveSyncBatchNorm

__all__ = [
    "CycleBatchNormList",
    "FrozenBatchNorm2d",
    "LayerNorm",
    "NaiveSyncBatchNorm",
    "WeightStandardNorm",
    "get_norm",
]

NormFactory = Callable[[int], nn.Module]
# What `get_norm` takes: a name, something that makes the layer, or "" or None for no norm.
Norm = str | NormFactory | None


class CycleBatchNormList(nn.ModuleList):
    """Norms that take turns, one for each feature level: own statistics, one weight and bias.

    For heads that run on several levels, whose statistics differ.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter

    def __init__(
        self,
        length: int,
        bn_class: type[nn.Module] = nn.BatchNorm2d,
        *,
        affine: bool = True,
        **kwargs: Any,
    ) -> None:
        """Make the norms.

        Args:
            length: number of levels.
            bn_class: the norm; it must take `affine`.
            affine: scale and shift what the norms return.
            **kwargs: arguments of the norm, `num_features` among them.
        """
        super().__init__(bn_class(affine=False, **kwargs) for _ in range(length))
        for name, start in (("weight", 1.0), ("bias", 0.0)):
            values = torch.full((kwargs["num_features"],), start)
            self.register_parameter(name, nn.Parameter(values) if affine else None)
        self._num_calls = 0

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, H, W) of the next level; after the last level the first one follows."""
        level = self._num_calls % len(self)
        self._num_calls += 1
        normalised = self[level](x)
        if self.weight is None:
            return normalised
        return torch.addcmul(self.bias[:, None, None], normalised, self.weight[:, None, None])

    def restart(self) -> None:
        """Let the next map be that of the first level, also after a pass that did not end."""
        self._num_calls = 0

    def extra_repr(self) -> str:
        """The options that repr() shows."""
        return f"affine={self.weight is not None}"


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


def _check_groups(name: str, channels: int) -> None:
    if channels % 32:
        raise ConfigError(
            f"The norm {name!r} has 32 groups, into which {channels} channels do not divide. Use a "
            'multiple of 32 channels, or another norm such as "BN".'
        )


def _group_norm(channels: int) -> nn.Module:
    _check_groups("GN", channels)
    return nn.GroupNorm(32, channels)


class WeightStandardNorm(nn.GroupNorm):
    """Group norm in 32 groups, after a `Conv2d` that standardises its weight because of it.

    The weight of each output channel gets the mean 0 and the deviation 1.

    Args:
        channels: of the map.

    Source: Qiao 2019, arXiv:1903.10520.
    """

    def __init__(self, channels: int) -> None:
        _check_groups("GN_WS", channels)
        super().__init__(32, channels)
        # Set by `Conv2d`; another layer would silently leave its weight as it is.
        self.has_standard_weight = False

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, H, W).

        Raises:
            ConfigError: after another layer than `Conv2d`.
        """
        if not self.has_standard_weight:
            raise ConfigError(
                'The norm "GN_WS" works in ResNets, pyramids and heads of regions; use "GN" here.'
            )
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


_NORMS: dict[str, NormFactory] = {
    "BN": nn.BatchNorm2d,
    "FrozenBN": FrozenBatchNorm2d,
    "GN": _group_norm,
    "GN_WS": WeightStandardNorm,
    "LN": LayerNorm,
    "SyncBN": nn.SyncBatchNorm,
    "naiveSyncBN": NaiveSyncBatchNorm,
    "naiveSyncBN_N": partial(NaiveSyncBatchNorm, stats_mode="N"),
    "nnSyncBN": nn.SyncBatchNorm,
}


def get_norm(norm: Norm, out_channels: int) -> nn.Module | None:
    """Make a normalisation layer from its name.

    Args:
        norm: a name ("" for none), a callable that makes the layer from a number of channels,
            or None.
        out_channels: channels of the map to be normalised.

    Returns:
        The layer, or None where no norm was asked for.

    Raises:
        UnknownKeyError: if the name is unknown; the message lists the known ones.
    """
    if norm is None or norm == "":
        return None
    if not isinstance(norm, str):
        return norm(out_channels)
    if norm not in _NORMS:
        known = ", ".join(sorted(_NORMS))
        raise UnknownKeyError(f"Unknown norm {norm!r}. Use one of {known}, or '' for none.")
    return _NORMS[norm](out_channels)


def norm_with(norm: Norm, *, eps: float, momentum: float) -> Norm:
    """What `get_norm` takes, for layers with these numbers in the place of the default ones.

    Args:
        norm: see `get_norm`.
        eps: added to the variance.
        momentum: share of a batch in the running statistics; ignored by norms without them.
    """
    if not norm:
        return norm

    def make(channels: int) -> nn.Module:
        layer = get_norm(norm, channels)
        assert layer is not None
        for name, value in (("eps", eps), ("momentum", momentum)):
            if hasattr(layer, name):
                setattr(layer, name, value)
        return layer

    return make
