"""What a RegNet is made of: stems, blocks of several kinds and squeeze-and-excitation.

Names of the layers are those of the published weights: a, b, c are the convolutions of a block.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from d2lite.layers import CNNBlockBase, get_norm
from d2lite.layers.batch_norm import Norm
from d2lite.utils.errors import ArgumentError

from ..weight_init import normal_fill

Activation = Callable[[], nn.Module]
# Of one stage: "bot_mul" width in the middle over width of the result, "group_w" channels a group,
# "se_r" squeezed channels over channels of the input.
BlockParams = Mapping[str, float]


def conv2d(
    w_in: int, w_out: int, k: int, *, stride: int = 1, groups: int = 1, bias: bool = False
) -> nn.Conv2d:
    """A k x k convolution, k odd, padded so that stride 1 keeps the size."""
    return nn.Conv2d(w_in, w_out, k, stride=stride, padding=_half(k), groups=groups, bias=bias)


def pool2d(k: int, *, stride: int = 1) -> nn.Module:
    """A k x k max pooling, k odd, padded so that stride 1 keeps the size."""
    return nn.MaxPool2d(k, stride=stride, padding=_half(k))


def gap2d() -> nn.Module:
    """The mean over all cells: (N, C, H, W) -> (N, C, 1, 1)."""
    return nn.AdaptiveAvgPool2d(1)


def _half(k: int) -> int:
    if k % 2 == 0:
        raise ArgumentError(f"A window of {k} cells has no middle; use an odd number.")
    return k // 2


def init_weights(m: nn.Module) -> None:
    """Set the starting values of one layer, for use with `Module.apply`."""
    if isinstance(m, nn.Conv2d):
        # Fan-out counts all groups here, unlike elsewhere: a grouped convolution starts smaller.
        nn.init.normal_(m.weight, std=(2.0 / (m.weight[0, 0].numel() * m.out_channels)) ** 0.5)
    elif isinstance(m, nn.Linear):
        normal_fill(m, std=0.01)
    elif isinstance(m, nn.BatchNorm2d) and m.affine:
        nn.init.ones_(m.weight)
        nn.init.zeros_(m.bias)


class _InOrder(nn.Module):
    """The layers of a module, one after the other."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, w_in, H, W) -> (N, w_out, H / stride, W / stride)."""
        for layer in self.children():
            x = layer(x)
        return x


class _Chain(_InOrder):
    """Layers under names, one after the other."""

    def __init__(self, **layers: nn.Module | None) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)


class SE(nn.Module):
    """Squeeze and excitation: weigh channels by a function of their means over the map.

    Args:
        w_in: channels.
        w_se: channels in the middle.
        activation_class: makes the activation in the middle.

    Source: Hu 2017, arXiv:1709.01507.
    """

    def __init__(self, w_in: int, w_se: int, activation_class: Activation) -> None:
        super().__init__()
        squeeze, excite = nn.Conv2d(w_in, w_se, 1), nn.Conv2d(w_se, w_in, 1)
        self.f_ex = nn.Sequential(squeeze, activation_class(), excite)

    def forward(self, x: Tensor) -> Tensor:
        """(N, w_in, H, W) -> the same shape."""
        mean = x.mean(dim=(2, 3), keepdim=True)
        return x * self.f_ex(mean).sigmoid()


class BasicTransform(_Chain):
    """Two 3 x 3 convolutions.

    Args:
        w_in: channels of the input.
        w_out: channels of the output.
        stride: of the first convolution.
        norm: a name or callable for `get_norm`.
        activation_class: makes the activation in between.
        _params: not used; every kind of transform has the same arguments.
    """

    def __init__(
        self,
        w_in: int,
        w_out: int,
        stride: int,
        norm: Norm,
        activation_class: Activation,
        _params: BlockParams,
    ) -> None:
        super().__init__(
            a=conv2d(w_in, w_out, 3, stride=stride),
            a_bn=get_norm(norm, w_out),
            a_af=activation_class(),
            b=conv2d(w_out, w_out, 3),
            b_bn=get_norm(norm, w_out),
        )


class BottleneckTransform(_Chain):
    """1 x 1, grouped 3 x 3, perhaps squeeze and excitation, and 1 x 1.

    Args:
        w_in: channels of the input.
        w_out: channels of the output.
        stride: of the 3 x 3 convolution.
        norm: a name or callable for `get_norm`.
        activation_class: makes the activations in between.
        params: "bot_mul", "group_w" and "se_r", see `BlockParams`.
    """

    def __init__(
        self,
        w_in: int,
        w_out: int,
        stride: int,
        norm: Norm,
        activation_class: Activation,
        params: BlockParams,
    ) -> None:
        width = round(w_out * params["bot_mul"])
        layers: dict[str, nn.Module | None] = {
            "a": conv2d(w_in, width, 1),
            "a_bn": get_norm(norm, width),
            "a_af": activation_class(),
            "b": conv2d(width, width, 3, stride=stride, groups=width // int(params["group_w"])),
            "b_bn": get_norm(norm, width),
            "b_af": activation_class(),
        }
        if params["se_r"]:
            layers["se"] = SE(width, round(w_in * params["se_r"]), activation_class)
        layers |= {"c": conv2d(width, w_out, 1), "c_bn": get_norm(norm, w_out)}
        super().__init__(**layers)


class VanillaBlock(_InOrder, CNNBlockBase):
    """Two 3 x 3 convolutions with nothing beside them; arguments as in `BasicTransform`."""

    def __init__(
        self,
        w_in: int,
        w_out: int,
        stride: int,
        norm: Norm,
        activation_class: Activation,
        _params: BlockParams,
    ) -> None:
        super().__init__(w_in, w_out, stride)
        transform = BasicTransform(w_in, w_out, stride, norm, activation_class, _params)
        for name, layer in transform.named_children():
            self.add_module(name, layer)
        self.b_af = activation_class()


class _ResidualBlock(CNNBlockBase):
    """A transform beside the identity, or beside a projection where sizes differ."""

    transform_class: type[nn.Module]

    def __init__(
        self,
        w_in: int,
        w_out: int,
        stride: int,
        norm: Norm,
        activation_class: Activation,
        params: BlockParams,
    ) -> None:
        super().__init__(w_in, w_out, stride)
        self.proj: nn.Module | None = None
        self.bn: Any = None
        if w_in != w_out or stride != 1:
            self.proj = conv2d(w_in, w_out, 1, stride=stride)
            self.bn = get_norm(norm, w_out)
        self.f = self.transform_class(w_in, w_out, stride, norm, activation_class, params)
        self.af = activation_class()

    def forward(self, x: Tensor) -> Tensor:
        """(N, w_in, H, W) -> (N, w_out, H / stride, W / stride)."""
        shortcut = x if self.proj is None else self.bn(self.proj(x))
        return self.af(shortcut + self.f(x))


class ResBasicBlock(_ResidualBlock):
    """A residual block of two 3 x 3 convolutions; arguments as in `BasicTransform`."""

    transform_class = BasicTransform


class ResBottleneckBlock(_ResidualBlock):
    """A residual bottleneck block; arguments as in `BottleneckTransform`."""

    transform_class = BottleneckTransform


class _Stem(_InOrder, CNNBlockBase):
    """A convolution of stride 2 with norm and activation, and perhaps a pooling of stride 2."""

    kernel_size: int
    has_pool: bool

    def __init__(self, w_in: int, w_out: int, norm: Norm, activation_class: Activation) -> None:
        super().__init__(w_in, w_out, 4 if self.has_pool else 2)
        self.conv = conv2d(w_in, w_out, self.kernel_size, stride=2)
        self.bn = get_norm(norm, w_out)
        self.af = activation_class()
        if self.has_pool:
            self.pool = pool2d(3, stride=2)


class SimpleStem(_Stem):
    """A 3 x 3 convolution of stride 2.

    Args:
        w_in: channels of the image.
        w_out: channels of the output.
        norm: a name or callable for `get_norm`.
        activation_class: makes the activation.
    """

    kernel_size = 3
    has_pool = False


class ResStem(_Stem):
    """A 7 x 7 convolution and a max pooling, stride 4 in all; arguments as in `SimpleStem`."""

    kernel_size = 7
    has_pool = True
