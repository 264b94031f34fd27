"""What a residual network is made of: the stem and the residual blocks.

In every block the strided convolution halves the map, and a projection replaces the identity
where input and output differ in channels.
"""

from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.layers import CNNBlockBase, Conv2d, DeformConv, ModulatedDeformConv, get_norm
from d2lite.layers.batch_norm import Norm
from d2lite.layers.max_pool import max_pool_3x3_stride_2

from ..weight_init import msra_fill, zero_fill


def _normed_conv(
    in_channels: int, out_channels: int, kernel_size: int, *, norm: Norm, **options: Any
) -> Conv2d:
    """A convolution without bias, with norm, whose padding keeps the size at stride 1."""
    dilation = options.get("dilation", 1)
    return Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        padding=dilation * (kernel_size // 2),
        bias=False,
        norm=get_norm(norm, out_channels),
        **options,
    )


class BasicStem(CNNBlockBase):
    """The first layers: a strided 7 x 7 convolution and a max pooling, 4 pixels a cell.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the result.
        norm: a name or a callable for `get_norm`.
    """

    def __init__(self, in_channels: int = 3, out_channels: int = 64, norm: Norm = "BN") -> None:
        super().__init__(in_channels, out_channels, 4)
        self.in_channels = in_channels
        self.conv1 = _normed_conv(in_channels, out_channels, 7, norm=norm, stride=2)
        msra_fill(self.conv1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H / 4, W / 4)."""
        return max_pool_3x3_stride_2(F.relu_(self.conv1(x)))


class DeepStem(CNNBlockBase):
    """Three 3 x 3 convolutions, the first with stride 2, and a max pooling: 4 pixels a cell.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the result; the first two convolutions have half of them.
        norm: a name or a callable for `get_norm`.

    Source: the "v1c" stem of He 2019, arXiv:1812.01187, as ResNet-D and DeepLab's ResNets have it.
    """

    def __init__(self, in_channels: int = 3, out_channels: int = 128, norm: Norm = "BN") -> None:
        super().__init__(in_channels, out_channels, 4)
        half = out_channels // 2
        widths = ((in_channels, half), (half, half), (half, out_channels))
        for number, (before, after) in enumerate(widths, start=1):
            stride = 2 if number == 1 else 1
            self.add_module(
                f"conv{number}", _normed_conv(before, after, 3, norm=norm, stride=stride)
            )
        for layer in self.children():
            msra_fill(layer)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H / 4, W / 4)."""
        for conv in self.children():
            x = F.relu_(conv(x))
        return max_pool_3x3_stride_2(x)


class ResidualBlock(CNNBlockBase):
    """A shortcut beside a chain of convolutions, which a subclass gives as `residual`.

    With `avg_down`, a shortcut that halves the map averages the cells that it joins (ResNet-D).
    With `project`, the shortcut has a convolution also where input and output are alike.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        norm: Norm,
        avg_down: bool = False,
        project: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels, stride)
        self.shortcut: nn.Module | None = None
        # On what the block adds; see `add_plugin`.
        self.plugin: nn.Module | None = None
        self.avg_down = avg_down and stride > 1
        if in_channels != out_channels or project:
            step = 1 if self.avg_down else stride
            self.shortcut = _normed_conv(in_channels, out_channels, 1, norm=norm, stride=step)

    def _fill(self, *convs: nn.Module) -> None:
        """Give start values to these convolutions and then to the shortcut.

        After all of them are made, so that a seed gives the same start values as in detectron2.
        """
        for conv in (*convs, self.shortcut):
            if conv is not None:
                msra_fill(conv)

    def add_plugin(self, plugin: nn.Module) -> None:
        """Put a layer on the result of `residual`, whose shape it keeps."""
        self.plugin = plugin

    def residual(self, x: Tensor) -> Tensor:
        """What is added to the shortcut: (N, out_channels, H / stride, W / stride)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride)."""
        out = self.residual(x)
        if self.plugin is not None:
            out = self.plugin(out)
        if self.shortcut is not None:
            if self.avg_down:
                x = F.avg_pool2d(x, self.stride, self.stride, ceil_mode=True)
            x = self.shortcut(x)
        out += x
        return F.relu_(out)


class BasicBlock(ResidualBlock):
    """Two 3 x 3 convolutions, as in ResNet-18 and -34.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: of the first convolution.
        norm: a name or a callable for `get_norm`.
        avg_down: see `ResidualBlock`.
        project: likewise.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        norm: Norm = "BN",
        avg_down: bool = False,
        project: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels, stride, norm, avg_down, project)
        self.conv1 = _normed_conv(in_channels, out_channels, 3, norm=norm, stride=stride)
        self.conv2 = _normed_conv(out_channels, out_channels, 3, norm=norm)
        self._fill(self.conv1, self.conv2)

    def residual(self, x: Tensor) -> Tensor:
        """Both convolutions, with a ReLU in between."""
        return self.conv2(F.relu_(self.conv1(x)))


class BottleneckBlock(ResidualBlock):
    """1 x 1, 3 x 3 and 1 x 1 convolutions, as in ResNet-50 and deeper.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        bottleneck_channels: channels of the 3 x 3 convolution.
        stride: of the block.
        num_groups: groups of the 3 x 3 convolution (more than one: a ResNeXt).
        norm: a name or a callable for `get_norm`.
        stride_in_1x1: the first 1 x 1 convolution has the stride (MSRA's models) instead of the
            3 x 3 one (torchvision's and FAIR's).
        dilation: of the 3 x 3 convolution.
        avg_down: see `ResidualBlock`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bottleneck_channels: int,
        stride: int = 1,
        num_groups: int = 1,
        norm: Norm = "BN",
        stride_in_1x1: bool = False,
        dilation: int = 1,
        avg_down: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels, stride, norm, avg_down)
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        width = bottleneck_channels
        self.conv1 = _normed_conv(in_channels, width, 1, norm=norm, stride=first)
        self._make_spatial(width, norm, stride=second, groups=num_groups, dilation=dilation)
        self.conv3 = _normed_conv(width, out_channels, 1, norm=norm)
        self._fill(self.conv1, self.conv2, self.conv3)

    # TorchScript reads annotations of a class, and knows no Any.
    if TYPE_CHECKING:
        conv2: Any

    def _make_spatial(self, width: int, norm: Norm, **options: Any) -> None:
        self.conv2 = _normed_conv(width, width, 3, norm=norm, **options)

    def _spatial(self, x: Tensor) -> Tensor:
        return self.conv2(x)

    def residual(self, x: Tensor) -> Tensor:
        """The three convolutions, with a ReLU after the first two."""
        return self.conv3(F.relu_(self._spatial(F.relu_(self.conv1(x)))))


class DeformBottleneckBlock(BottleneckBlock):
    """A `BottleneckBlock` whose 3 x 3 convolution reads at places that it predicts.

    A convolution that starts at zero predicts an offset for each of the nine taps, and with
    `deform_modulated` a weight too, so a new block behaves like an undeformed one (of half the
    weight if modulated).

    Args:
        deform_modulated: predict weights also (version 2).
        deform_num_groups: channels are split into so many groups with offsets of their own.

    The other arguments are those of `BottleneckBlock`.
    Source: Dai 2017, arXiv:1703.06211; Zhu 2018, arXiv:1811.11168.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bottleneck_channels: int,
        stride: int = 1,
        num_groups: int = 1,
        norm: Norm = "BN",
        stride_in_1x1: bool = False,
        dilation: int = 1,
        deform_modulated: bool = False,
        deform_num_groups: int = 1,
    ) -> None:
        # Plain attributes, which _make_spatial reads, may be set before Module.__init__ has run.
        self.deform_modulated = deform_modulated
        self.deform_num_groups = deform_num_groups
        super().__init__(
            in_channels,
            out_channels,
            bottleneck_channels=bottleneck_channels,
            stride=stride,
            num_groups=num_groups,
            norm=norm,
            stride_in_1x1=stride_in_1x1,
            dilation=dilation,
        )

    def _make_spatial(self, width: int, norm: Norm, **options: Any) -> None:
        taps = 9 * self.deform_num_groups
        kind = ModulatedDeformConv if self.deform_modulated else DeformConv
        self.conv2_offset = Conv2d(
            width,
            taps * (3 if self.deform_modulated else 2),
            3,
            stride=options["stride"],
            padding=options["dilation"],
            dilation=options["dilation"],
        )
        self.conv2 = kind(
            width,
            width,
            kernel_size=3,
            padding=options["dilation"],
            bias=False,
            deformable_groups=self.deform_num_groups,
            norm=get_norm(norm, width),
            **options,
        )
        zero_fill(self.conv2_offset)

    def _spatial(self, x: Tensor) -> Tensor:
        predicted = self.conv2_offset(x)
        if not self.deform_modulated:
            return self.conv2(x, predicted)
        taps = 9 * self.deform_num_groups
        offset, weight = predicted.split([2 * taps, taps], dim=1)
        return self.conv2(x, offset, weight.sigmoid())
