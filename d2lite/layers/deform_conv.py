"""Deformable convolutions: every tap of the kernel is moved by an offset that is itself learned.

N images, K taps (kernel height * kernel width), G groups of offsets.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from ..utils.errors import ArgumentError, ShapeError
from .deform_sampling import deform_conv2d

__all__ = ["DeformConv", "ModulatedDeformConv", "deform_conv", "modulated_deform_conv"]


class _DeformableConv(nn.Module):
    """What both kinds share: settings, parameters, the call of the operator.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: taps, (height, width) or one number for both.
        stride: input cells per output cell.
        padding: zeros around the input.
        dilation: cells between taps before they are moved.
        groups: of channels that are convolved separately.
        deformable_groups: of input channels that share their offsets.
        bias: whether a bias is added.
        norm: applied to the convolution's output.
        activation: applied last.

    Raises:
        ArgumentError: if channels do not divide by the groups.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        deformable_groups: int = 1,
        bias: bool = False,
        norm: nn.Module | None = None,
        activation: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels % groups:
                raise ArgumentError(
                    f"{name}={channels} does not divide by groups={groups}; "
                    f"choose groups among the divisors of {name}."
                )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size: tuple[int, int] = _pair(kernel_size)
        self.stride: int | tuple[int, int] = _pair(stride)
        self.padding: int | tuple[int, int] = _pair(padding)
        self.dilation: int | tuple[int, int] = _pair(dilation)
        self.groups = groups
        self.deformable_groups = deformable_groups
        self.norm = norm
        self.activation = activation
        self.weight = nn.Parameter(
            torch.empty(out_channels, in_channels // groups, *self.kernel_size)
        )
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")

    def _convolve(self, x: Tensor, offset: Tensor, mask: Tensor | None) -> Tensor:
        if self.in_channels % self.deformable_groups:
            raise ShapeError(
                f"in_channels={self.in_channels} does not divide by deformable_groups="
                f"{self.deformable_groups}; choose deformable_groups among the divisors."
            )
        moved_taps = self.deformable_groups * self.kernel_size[0] * self.kernel_size[1]
        if offset.shape[1] != 2 * moved_taps:
            raise ShapeError(
                f"The offset has {offset.shape[1]} channels; {self.deformable_groups} "
                f"deformable_groups of {self.kernel_size} taps need {2 * moved_taps}."
            )
        if x.shape[0] == 0:
            # The operator refuses an empty batch.
            y = x.new_zeros((0, self.out_channels, *offset.shape[-2:]))
            y = y + (x.sum() + self.weight.sum() + offset.sum()) * 0
        else:
            steps = _pair(self.stride), _pair(self.padding), _pair(self.dilation)
            y = deform_conv2d(x, offset, self.weight, self.bias, *steps, mask)
        if self.norm is not None:
            y = self.norm(y)
        return y if self.activation is None else self.activation(y)

    def extra_repr(self) -> str:
        """The options that repr() shows."""
        names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation")
        shown = [f"{name}={getattr(self, name)}" for name in names]
        shown += [f"groups={self.groups}", f"deformable_groups={self.deformable_groups}"]
        return ", ".join([*shown, f"bias={self.bias is not None}"])


class DeformConv(_DeformableConv):
    """Deformable convolution; arguments as for `Conv2d`, and `deformable_groups`.

    Source: Dai 2017, arXiv:1703.06211.
    """

    def forward(self, x: Tensor, offset: Tensor) -> Tensor:
        """Convolve.

        Args:
            x: (N, in_channels, H, W).
            offset: (N, 2 * G * K, H', W'), in cells, y before x for each tap.

        Returns:
            (N, out_channels, H', W').
        """
        return self._convolve(x, offset, None)


class ModulatedDeformConv(_DeformableConv):
    """Deformable convolution whose taps are weighted too, by default with a bias.

    Source: Zhu 2018, arXiv:1811.11168.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        deformable_groups: int = 1,
        bias: bool = True,
        norm: nn.Module | None = None,
        activation: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Make the layer; arguments as for `DeformConv`."""
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            deformable_groups,
            bias,
            norm,
            activation,
        )
        # As they were given, which is what detectron2 shows and what reads them expects.
        self.stride, self.padding, self.dilation = stride, padding, dilation

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """Convolve.

        Args:
            x: (N, in_channels, H, W).
            offset: (N, 2 * G * K, H', W'), in cells, y before x for each tap.
            mask: (N, G * K, H', W'), weight of each tap, usually in [0, 1].

        Returns:
            (N, out_channels, H', W').
        """
        return self._convolve(x, offset, mask)


def deform_conv(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    deformable_groups: int = 1,
    im2col_step: int = 64,
) -> Tensor:
    """`DeformConv` as a function.

    Args:
        input: (N, C, H, W).
        offset: see `DeformConv.forward`.
        weight: (out, C / groups, kernel height, kernel width).
        stride: of the kernel.
        padding: zeros around the map.
        dilation: distance of the taps.
        groups: follows from `weight`, not used.
        deformable_groups: follows from `offset`, not used.
        im2col_step: not used.
    """
    steps = _pair(stride), _pair(padding), _pair(dilation)
    return deform_conv2d(input, offset, weight, None, *steps, None)


def modulated_deform_conv(
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    deformable_groups: int = 1,
) -> Tensor:
    """`ModulatedDeformConv` as a function; arguments as in `deform_conv`, and these.

    Args:
        input: see there.
        offset: see there.
        mask: (N, G * K, H', W') weight of each tap.
        weight: see there, as for the rest.
        bias: (out,) or None.
        stride: see there.
        padding: see there.
        dilation: see there.
        groups: see there.
        deformable_groups: see there.
    """
    steps = _pair(stride), _pair(padding), _pair(dilation)
    return deform_conv2d(input, offset, weight, bias, *steps, mask)
