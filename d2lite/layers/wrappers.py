"""Conv2d with norm and activation, and small functions over tensors that accept empty input."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch._jit_internal import is_scripting
from torch.nn import BatchNorm2d, ConvTranspose2d, Linear, MaxPool2d
from torch.nn import functional as F
from torch.nn.functional import interpolate

from d2lite.utils.env import TORCH_VERSION

from ..utils.errors import ArgumentError, InputTypeError
from .batch_norm import WeightStandardNorm
from .frozen_batch_norm import FrozenBatchNorm2d

__all__ = [
    "TORCH_VERSION",
    "BatchNorm2d",
    "Conv2d",
    "ConvTranspose2d",
    "Linear",
    "MaxPool2d",
    "cat",
    "check_if_dynamo_compiling",
    "cross_entropy",
    "disable_torch_compiler",
    "empty_input_loss_func_wrapper",
    "interpolate",
    "move_device_like",
    "nonzero_tuple",
    "shapes_to_tensor",
]


if TYPE_CHECKING:
    Sizes = Sequence[int | Tensor]
else:
    # TorchScript, which knows no such unions, is given integers.
    Sizes = list[int]


class Conv2d(nn.Conv2d):
    """A convolution that carries its normalisation and its activation.

    A frozen batch norm is an affine map per output channel, so it is folded into the weight and
    bias of the convolution where that is the smaller tensor: the feature map is then written
    once instead of twice. Gradients reach the convolution's own weight through the fold.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take the arguments of `torch.nn.Conv2d` and two more, both by keyword.

        Args:
            *args: as `torch.nn.Conv2d`.
            **kwargs: as `torch.nn.Conv2d`, plus `norm` (a module or None, applied to the
                convolution's output) and `activation` (a callable on tensors or None, applied
                last).
        """
        norm = kwargs.pop("norm", None)
        activation = kwargs.pop("activation", None)
        super().__init__(*args, **kwargs)
        self.norm = norm
        self._has_standard_weight = isinstance(norm, WeightStandardNorm)
        if isinstance(norm, WeightStandardNorm):
            norm.has_standard_weight = True
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, normalise, activate.

        Args:
            x: (N, in_channels, H, W), N may be 0.
        """
        # TorchScript compiles the plain way alone; the result is the same.
        if is_scripting():
            x = self._convolve_and_normalise(x)
        elif self._folds_norm(x):
            x = self._convolve_with_folded_norm(x)
        else:
            x = self._convolve_and_normalise(x)
        if self.activation is not None:
            x = self.activation(x)
        return x

    def _convolve_and_normalise(self, x: Tensor) -> Tensor:
        weight = self.weight
        if self._has_standard_weight:
            std, mean = torch.std_mean(weight, dim=[1, 2, 3], keepdim=True)
            weight = (weight - mean) / (std + 1e-5)
        x = self._conv_forward(x, weight, self.bias)
        if self.norm is not None:
            x = self.norm(x)
        return x

    def _folds_norm(self, x: Tensor) -> bool:
        norm = self.norm
        # A subclass may normalise differently, and a hook on the norm must see its input.
        if type(norm) is not FrozenBatchNorm2d or norm._forward_hooks or norm._forward_pre_hooks:
            return False
        if torch.compiler.is_dynamo_compiling():
            # The norm becomes a part of what is done to the map anyway, and a choice by the size
            # of the map would mean other code for other images.
            return False
        # Scaling the weight must cost less than another pass over the map: deep layers on small
        # images have more weights than cells (512 channels, 4 maps of 8 x 10: 36 ms to 30 ms).
        cells = x.numel() // self.in_channels // (self.stride[0] * self.stride[1])
        return cells >= self.weight.numel() // self.out_channels

    def _convolve_with_folded_norm(self, x: Tensor) -> Tensor:
        scale, shift = self.norm.scale_and_shift()
        bias = shift if self.bias is None else torch.addcmul(shift, self.bias, scale)
        weight = self.weight * scale[:, None, None, None]
        dtype = self.weight.dtype
        return self._conv_forward(x, weight.to(dtype), bias.to(dtype))


def cat(tensors: list[Tensor], dim: int = 0) -> Tensor:
    """`torch.cat`, but a single tensor is returned as it is, not copied.

    Raises:
        ArgumentError: if there is no tensor, since device and dtype would be unknown.
    """
    if not is_scripting() and not isinstance(tensors, (list, tuple)):
        kind = type(tensors).__name__
        raise InputTypeError(f"cat() got a {kind}; give a list or tuple of tensors.")
    if len(tensors) == 0:
        raise ArgumentError("cat() got no tensor; give at least one.")
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, dim)


# Its type is left out, since TorchScript has no tuples of any length and gives a list.
def nonzero_tuple(x: Tensor):  # type: ignore[no-untyped-def]
    """Indices of the non-zero elements, one int64 tensor per axis; a scalar counts as one axis."""
    x = torch.atleast_1d(x)
    if is_scripting():
        return x.nonzero().unbind(1)
    return x.nonzero(as_tuple=True)


def empty_input_loss_func_wrapper(loss_func: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Make a loss return 0 (attached to the graph) instead of NaN when its input is empty.

    Args:
        loss_func: a function of (input, target, *, reduction, ...).
    """

    @wraps(loss_func)
    def empty_safe(
        input: Tensor, target: Tensor, *, reduction: str = "mean", **kwargs: Any
    ) -> Tensor:
        # Only the mean of nothing is undefined; "sum" and "none" are right by themselves.
        if reduction == "mean" and target.numel() == 0:
            return input.sum() * 0.0
        return loss_func(input, target, reduction=reduction, **kwargs)

    return empty_safe


cross_entropy = empty_input_loss_func_wrapper(F.cross_entropy)


def shapes_to_tensor(x: Sizes, device: torch.device | None = None) -> Tensor:
    """A list of sizes as one int64 vector.

    Args:
        x: integers, or scalar tensors as tracing gives for sizes.
        device: of the result; by default that of the first tensor in x, else the CPU.
    """
    if is_scripting():
        return torch.as_tensor(x, dtype=torch.int64, device=device)
    return _stack_sizes(x, device)


def _stack_sizes(x: Sizes, device: torch.device | None) -> Tensor:
    traced = [size for size in x if isinstance(size, Tensor)]
    if not traced:
        return torch.as_tensor(x, dtype=torch.int64, device=device)
    target = traced[0].device if device is None else device
    return torch.stack([torch.as_tensor(size, dtype=torch.int64, device=target) for size in x])


def move_device_like(src: Tensor, dst: Tensor) -> Tensor:
    """`src` on the device of `dst`."""
    return src.to(dst.device)


def check_if_dynamo_compiling() -> bool:
    """True while `torch.compile` or `torch.export` is reading the code."""
    return torch.compiler.is_compiling()


def disable_torch_compiler(func: Callable[..., Any]) -> Callable[..., Any]:
    """`func`, left out of any graph that `torch.compile` builds."""
    return torch.compiler.disable(func)
