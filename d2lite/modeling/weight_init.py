"""The start values of convolutions and linear layers in the published models, and such layers."""

import math
from collections.abc import Callable
from typing import Any

from torch import nn

from d2lite.layers import Conv2d, get_norm
from d2lite.layers.batch_norm import Norm


def msra_fill(layer: Any) -> None:
    """Fill a layer that a ReLU follows: normal weights of variance 2 / fan-out, zero bias.

    Args:
        layer: a convolution or linear layer, changed in place.

    Source: He 2015, arXiv:1502.01852.
    """
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    _zero_bias(layer)


def xavier_fill(layer: Any) -> None:
    """Fill a layer without a ReLU: uniform weights of variance 1 / fan-in, zero bias.

    Args:
        layer: a convolution or linear layer, changed in place.

    Source: the XavierFill of Caffe2, which looks at fan-in alone.
    """
    nn.init.kaiming_uniform_(layer.weight, a=1)
    _zero_bias(layer)


def normal_fill(layer: Any, std: float) -> None:
    """Fill a prediction layer: normal weights of a small deviation, zero bias.

    Args:
        layer: a convolution or linear layer, changed in place.
        std: the deviation.
    """
    nn.init.normal_(layer.weight, std=std)
    _zero_bias(layer)


def glorot_fill(layer: Any) -> None:
    """Fill a layer of a transformer: uniform weights of variance 2 / (fan-in + fan-out), zero bias.

    Args:
        layer: a convolution or linear layer, changed in place.

    Source: Glorot 2010, "Understanding the difficulty of training deep feedforward networks".
    """
    nn.init.xavier_uniform_(layer.weight)
    _zero_bias(layer)


def zero_fill(layer: Any) -> None:
    """Let a layer give 0 at the start.

    Args:
        layer: with a weight, and maybe a bias, changed in place.
    """
    nn.init.zeros_(layer.weight)
    _zero_bias(layer)


def prior_fill(layer: Any, probability: float) -> None:
    """Let the logits that a layer predicts begin near those of a probability, by its bias alone.

    Args:
        layer: a convolution or linear layer, changed in place.
        probability: between 0 and 1.

    Source: Lin 2017, arXiv:1708.02002, section 4.1.
    """
    nn.init.constant_(layer.bias, -math.log((1 - probability) / probability))


def conv_relu(in_channels: int, out_channels: int, norm: Norm) -> Conv2d:
    """A 3 x 3 convolution that keeps the size, with a norm or else a bias, and a ReLU.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        norm: a name or callable for `get_norm`.
    """
    return filled_conv(None, in_channels, out_channels, 3, norm, activation=nn.ReLU())


def filled_conv(
    fill: Callable[[Any], None] | None,
    in_channels: int,
    channels: int,
    size: int,
    norm: Norm,
    *,
    stride: int = 1,
    has_bias: bool | None = None,
    activation: Callable[..., Any] | None = None,
) -> Conv2d:
    """A convolution that keeps the size of a map (over the stride), with a norm and start values.

    Args:
        fill: one of the functions above; None to leave torch's start values.
        in_channels: of the input.
        channels: of the result.
        size: of the kernel, odd.
        norm: see `get_norm`.
        stride: cells of the input for a cell of the result.
        has_bias: whether there is a bias; by default only without a norm.
        activation: applied to the result, after the norm.
    """
    conv = Conv2d(
        in_channels,
        channels,
        size,
        stride=stride,
        padding=size // 2,
        bias=not norm if has_bias is None else has_bias,
        norm=get_norm(norm, channels),
        activation=activation,
    )
    if fill is not None:
        fill(conv)
    return conv


def _zero_bias(layer: Any) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
