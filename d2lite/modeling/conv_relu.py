"""The layer that heads are made of: a 3 x 3 convolution, its norm and a ReLU."""

from torch import nn

from d2lite.layers import Conv2d, get_norm
from d2lite.layers.batch_norm import Norm


def conv_relu(in_channels: int, out_channels: int, norm: Norm) -> Conv2d:
    """A 3 x 3 convolution that keeps the size, with a norm or else a bias, and a ReLU.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        norm: a name or callable for `get_norm`.
    """
    return Conv2d(
        in_channels,
        out_channels,
        3,
        padding=1,
        bias=not norm,
        norm=get_norm(norm, out_channels),
        activation=nn.ReLU(),
    )
