"""The start values of convolutions and linear layers in the published models."""

from typing import Any

from torch import nn


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


def _zero_bias(layer: Any) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
