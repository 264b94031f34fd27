"""The backbone of SSDLite: MobileNetV2 and further layers of separable convolutions.

N images.

Source: Sandler 2018, arXiv:1801.04381.
"""

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.config import CfgNode
from d2lite.layers import ConvStep, FrozenBatchNorm2d, ShapeSpec
from d2lite.layers.batch_norm import Norm, norm_with
from d2lite.modeling import BACKBONE_REGISTRY, Backbone
from d2lite.modeling.csp import SeparableConv

# Factor of the inner width, channels, blocks and stride of the first block, of each stage.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_FIRST_CHANNELS, _LAST_CHANNELS = 32, 1280
_TAPPED_STAGE = 5

# A convolution with norm and ReLU that is cut at 6.
lite_conv = partial(ConvStep, activation=F.relu6)


def lite_norms(name: str) -> Norm:
    """The norm that a configuration names, with the numbers of the published SSDLite."""
    return norm_with(name, eps=1e-3, momentum=0.03)


def _multiple_of_8(channels: float) -> int:
    """The nearest multiple of 8 that is not smaller by more than a tenth."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


class InvertedResidual(nn.Sequential):
    """A block that is wide inside: expand, filter each channel alone, and project back."""

    def __init__(
        self, in_channels: int, channels: int, stride: int, factor: int, norm: Norm
    ) -> None:
        inner = in_channels * factor
        steps: OrderedDict[str, nn.Module] = OrderedDict()
        if factor != 1:
            steps["expand_conv"] = lite_conv(in_channels, inner, norm=norm)
        steps["depthwise_conv"] = lite_conv(inner, inner, 3, norm=norm, stride=stride, groups=inner)
        steps["linear_conv"] = ConvStep(inner, channels, norm=norm, activation=nn.Identity())
        super().__init__(steps)
        self.has_shortcut = stride == 1 and in_channels == channels

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, channels, H / stride, W / stride)."""
        y: Tensor = super().forward(x)
        return x + y if self.has_shortcut else y


class SSDMobileNetV2(Backbone):
    """Maps "layer5", "conv2" and one of each further layer, "extra1" and so on.

    Args:
        extra_layers: channels, size, stride and padding of each further layer; the padding is
            half of the size.
        strides: of the maps, in pixels; where the anchors' centres are.
        width: factor on the channels of MobileNetV2.
        norm: of all convolutions, see `get_norm`.
        freeze_at: 0 trains all, 1 fixes the first convolution, 2 the first stage too, and so on.
        in_channels: of the images.
    """

    def __init__(
        self,
        extra_layers: Sequence[Sequence[int]],
        strides: Sequence[int],
        *,
        width: float = 1.0,
        norm: Norm = "BN",
        freeze_at: int = 0,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        before = _multiple_of_8(_FIRST_CHANNELS * width)
        self.conv1 = lite_conv(in_channels, before, 3, norm=norm, stride=2)
        for number, (factor, wide, count, stride) in enumerate(_STAGES, start=1):
            channels, blocks = _multiple_of_8(wide * width), []
            for block in range(count):
                step = stride if block == 0 else 1
                blocks.append(InvertedResidual(before, channels, step, factor, norm))
                before = channels
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
            if number == _TAPPED_STAGE:
                tapped = channels
        last = _multiple_of_8(_LAST_CHANNELS * max(width, 1.0))
        self.conv2 = lite_conv(before, last, norm=norm)
        self.extra_layers, before = nn.ModuleList(), last
        for channels, size, stride, _ in extra_layers:
            conv = SeparableConv(
                channels // 2, channels, size, norm=norm, stride=stride, activation=F.relu6
            )
            narrow = lite_conv(before, channels // 2, norm=norm)
            self.extra_layers.append(nn.Sequential(OrderedDict(conv1=narrow, conv2=conv)))
            before = channels
        names = ["layer5", "conv2", *(f"extra{i}" for i in range(1, len(extra_layers) + 1))]
        widths = [tapped, last, *(layer[0] for layer in extra_layers)]
        self._out_features = names
        self._out_feature_channels = dict(zip(names, widths, strict=True))
        self._out_feature_strides = dict(zip(names, strides, strict=True))
        for part in self._parts()[: max(freeze_at, 0)]:
            part.requires_grad_(False)
            FrozenBatchNorm2d.convert_frozen_batchnorm(part)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, in_channels, H, W) -> the maps by name."""
        maps = []
        for number, part in enumerate(self._parts()):
            x = part(x)
            if number == _TAPPED_STAGE:
                maps.append(x)
        maps.append(x)
        for layer in self.extra_layers:
            x = layer(x)
            maps.append(x)
        return dict(zip(self._out_features, maps, strict=True))

    def _parts(self) -> list[nn.Module]:
        stages = (getattr(self, f"layer{i}") for i in range(1, len(_STAGES) + 1))
        return [self.conv1, *stages, self.conv2]


@BACKBONE_REGISTRY.register()
def build_ssd_mobilenetv2_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> SSDMobileNetV2:
    """MobileNetV2 and the further layers, as `MODEL.SSD` describes them."""
    node = cfg.MODEL.SSD
    return SSDMobileNetV2(
        node.EXTRA_LAYERS,
        node.STRIDES,
        width=node.WIDTH,
        norm=lite_norms(node.NORM),
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        in_channels=input_shape.channels,
    )
