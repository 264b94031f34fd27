"""FrozenBatchNorm2d: batch norm as a fixed affine map, made from BatchNorm2d and back."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._jit_internal import is_scripting

from d2lite.utils.tracing import is_recording

__all__ = ["FrozenBatchNorm2d", "scales_at_once"]


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation whose statistics and affine parameters never change.

    All four vectors are buffers: they are saved and moved, and no optimizer sees them. A new one
    is the identity but for eps.
    """

    # 1: weight and bias only. 2: with running statistics. 3: running_var excludes eps.
    _version = 3

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        """Make the layer for maps of `num_features` channels."""
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        # Together with eps they leave a map as it is.
        starts = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0 - eps}
        for name, value in starts.items():
            self.register_buffer(name, torch.full((num_features,), value))

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """The layer as y = x * scale + shift: two (C,) vectors, float32 or finer."""
        # TorchScript cannot read the vectors of `scales_at_once`.
        if not is_scripting():
            # Read once: another thread that predicts may take them away.
            ready = self.__dict__.get("_ready")
            if ready is not None:
                scale, shift = ready
                return scale, shift
        # The square root of a half-precision variance would lose three digits.
        dtype = torch.promote_types(self.running_var.dtype, torch.float32)
        scale = self.weight.to(dtype) * (self.running_var.to(dtype) + self.eps).rsqrt()
        return scale, self.bias.to(dtype) - self.running_mean.to(dtype) * scale

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, H, W); the result has the dtype of x."""
        scale, shift = (v.to(x.dtype).reshape(1, -1, 1, 1) for v in self.scale_and_shift())
        # One pass, and autograd keeps the C scales instead of the feature map.
        return torch.addcmul(shift, x, scale)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        *args: Any,
    ) -> None:
        version = local_metadata.get("version")
        mean_name, var_name = prefix + "running_mean", prefix + "running_var"
        # Files converted from Caffe2 hold an affine map alone and carry no version.
        if version is None or version < 2:
            if mean_name not in state_dict:
                state_dict[mean_name] = torch.zeros_like(self.running_mean)
            if var_name not in state_dict:
                state_dict[var_name] = torch.full_like(self.running_var, 1 - self.eps)
        # BatchNorm2d's counter means nothing here and would be reported as unexpected. It marks
        # files of BatchNorm2d, whose own version is 2 and whose variance excludes eps.
        counter_name = prefix + "num_batches_tracked"
        is_batch_norm = counter_name in state_dict
        if "num_batches_tracked" not in self._buffers:
            state_dict.pop(counter_name, None)
        elif not is_batch_norm:
            state_dict[counter_name] = self._buffers["num_batches_tracked"]
        if version == 2 and var_name in state_dict and not is_batch_norm:
            state_dict[var_name] = state_dict[var_name] - self.eps
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    def extra_repr(self) -> str:
        """The options that repr() shows."""
        return f"num_features={self.num_features}, eps={self.eps}"

    @classmethod
    def convert_frozen_batchnorm(cls, module: nn.Module) -> nn.Module:
        """Freeze every `BatchNorm2d` and `SyncBatchNorm` of a model.

        Args:
            module: any module. Children are replaced inside it.

        Returns:
            The module itself, or its replacement where it is a batch norm.
        """
        return _replace_modules(module, (nn.BatchNorm2d, nn.SyncBatchNorm), cls._freeze_one)

    @classmethod
    def convert_frozenbatchnorm2d_to_batchnorm2d(cls, module: nn.Module) -> nn.Module:
        """Thaw every `FrozenBatchNorm2d` of a model into a trainable `BatchNorm2d`.

        Args:
            module: any module. Children are replaced inside it.

        Returns:
            The module itself, or its replacement where it is a frozen batch norm.
        """
        return _replace_modules(module, (cls,), cls._thaw_one)

    @classmethod
    def _freeze_one(cls, source: Any) -> nn.Module:
        frozen = cls(source.num_features, source.eps).to(source.running_mean)
        if source.affine:
            frozen.weight.copy_(source.weight.detach())
            frozen.bias.copy_(source.bias.detach())
        frozen.running_mean.copy_(source.running_mean)
        frozen.running_var.copy_(source.running_var)
        if source.num_batches_tracked is not None:
            # Nobody reads it, but published weights of models frozen this way hold the name.
            frozen.register_buffer("num_batches_tracked", source.num_batches_tracked.clone())
        return frozen

    @staticmethod
    def _thaw_one(source: Any) -> nn.Module:
        thawed = nn.BatchNorm2d(source.num_features, source.eps).to(source.weight)
        thawed.load_state_dict(source.state_dict(), strict=False)
        return thawed


@contextmanager
def scales_at_once(module: nn.Module) -> Iterator[None]:
    """Inside, the scales and shifts of all frozen batch norms of a module are computed already.

    Five operators for all take the place of five for each; the numbers are the same.

    Args:
        module: the network that is run inside; nothing may change its buffers meanwhile.
    """
    kinds: dict[tuple[torch.dtype, torch.device], list[FrozenBatchNorm2d]] = defaultdict(list)
    if not is_recording():
        for norm in module.modules():
            # A subclass may compute them differently, and half precision needs finer vectors.
            if type(norm) is FrozenBatchNorm2d and norm.running_var.dtype.itemsize >= 4:
                kinds[norm.running_var.dtype, norm.running_var.device].append(norm)
    for norms in kinds.values():
        scales = torch._foreach_add([n.running_var for n in norms], [n.eps for n in norms])
        torch._foreach_rsqrt_(scales)
        torch._foreach_mul_(scales, [n.weight for n in norms])
        moved = torch._foreach_mul([n.running_mean for n in norms], scales)
        shifts = torch._foreach_sub([n.bias for n in norms], moved)
        for norm, scale, shift in zip(norms, scales, shifts, strict=True):
            norm.__dict__["_ready"] = scale, shift
    try:
        yield
    finally:
        for norms in kinds.values():
            for norm in norms:
                norm.__dict__.pop("_ready", None)


def _replace_modules(
    module: nn.Module,
    kinds: tuple[type[nn.Module], ...],
    replace: Callable[[Any], nn.Module],
) -> nn.Module:
    if isinstance(module, kinds):
        replacement = replace(module)
        replacement.train(module.training)
        return replacement
    # named_children() would skip the second name of a module that is in two places.
    for name, child in list(module._modules.items()):
        if child is None:
            continue
        module.add_module(name, _replace_modules(child, kinds, replace))
    return module
