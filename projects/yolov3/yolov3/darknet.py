"""Darknet-53 and the pyramid of YOLOv3.

N images; maps "res1" to "res5" of strides 2 to 32.

Source: Redmon 2018, arXiv:1804.02767, sections 2.3 and 2.4.
"""

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.config import CfgNode
from d2lite.layers import ConvStep, ShapeSpec
from d2lite.layers.batch_norm import Norm
from d2lite.modeling import BACKBONE_REGISTRY, Backbone
from d2lite.modeling.backbone.backbone import HalvingBackbone, check_maps
from d2lite.modeling.csp import ResidualPair

# Channels of the first convolution and of the stages' maps, and blocks of the stages.
_CHANNELS = (32, 64, 128, 256, 512, 1024)
_BLOCKS = (1, 2, 8, 8, 4)

# A convolution with norm and leaky ReLU.
leaky_conv = partial(ConvStep, activation=partial(F.leaky_relu, negative_slope=0.1))


class Darknet53(HalvingBackbone):
    """A convolution and five stages, each of which halves the map.

    Args:
        width: factor on the numbers of channels.
        out_features: maps to return, of "res1" ... "res5".
        norm: of all convolutions, see `get_norm`.
        freeze_at: 0 trains all, 1 fixes the first convolution, 2 the first stage too, and so on.
        in_channels: of the images.
    """

    def __init__(
        self,
        width: float = 1.0,
        out_features: Sequence[str] = ("res3", "res4", "res5"),
        *,
        norm: Norm = "BN",
        freeze_at: int = 0,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        names = [f"res{number}" for number in range(1, 6)]
        check_maps("Darknet-53", out_features, names, "MODEL.DARKNET.OUT_FEATURES")
        widths = [int(channels * width) for channels in _CHANNELS]
        self.conv1 = leaky_conv(in_channels, widths[0], 3, norm=norm)
        for number, (before, channels) in enumerate(pairwise(widths), start=1):
            stage: OrderedDict[str, nn.Module] = OrderedDict()
            stage["conv"] = leaky_conv(before, channels, 3, stride=2, norm=norm)
            for block in range(_BLOCKS[number - 1]):
                stage[f"res{block}"] = ResidualPair(
                    leaky_conv(channels, channels // 2, norm=norm),
                    leaky_conv(channels // 2, channels, 3, norm=norm),
                    has_shortcut=True,
                )
            self.add_module(f"conv_res_block{number}", nn.Sequential(stage))
        self._name_stages(
            ["conv1", *(f"conv_res_block{i}" for i in range(1, len(_BLOCKS) + 1))],
            dict(zip(names, widths[1:], strict=True)),
            out_features,
            stride=2,
            freeze_at=freeze_at,
        )


class _Mixing(nn.Sequential):
    """Five convolutions that change between a width and its double."""

    def __init__(self, in_channels: int, channels: int, norm: Norm) -> None:
        widths = [in_channels, channels, 2 * channels, channels, 2 * channels, channels]
        steps = (
            (f"conv{i}", leaky_conv(before, after, 1 if i % 2 else 3, norm=norm))
            for i, (before, after) in enumerate(pairwise(widths), start=1)
        )
        super().__init__(OrderedDict(steps))


class YOLOv3Pyramid(Backbone):
    """Maps "p5", "p4", "p3", from coarse to fine: each is mixed into the next finer one.

    Args:
        bottom_up: the network below, whose maps have doubling strides; each map of the pyramid has
            half of its channels.
        norm: see `get_norm`.
    """

    def __init__(self, bottom_up: Backbone, *, norm: Norm) -> None:
        super().__init__()
        shapes: dict[str, ShapeSpec] = bottom_up.output_shape()
        self.in_features = sorted(shapes, key=lambda name: -shapes[name].stride)
        widths = [shapes[name].channels // 2 for name in self.in_features]
        self.bottom_up = bottom_up
        self.detect1 = _Mixing(2 * widths[0], widths[0], norm)
        for number, (coarse, fine) in enumerate(pairwise(widths), start=1):
            self.add_module(f"conv{number}", leaky_conv(coarse, fine, norm=norm))
            self.add_module(f"detect{number + 1}", _Mixing(3 * fine, fine, norm))
        strides = [shapes[name].stride for name in self.in_features]
        self._out_features = [f"p{stride.bit_length() - 1}" for stride in strides]
        self._out_feature_channels = dict(zip(self._out_features, widths, strict=True))
        self._out_feature_strides = dict(zip(self._out_features, strides, strict=True))
        self._size_divisibility = strides[0]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) -> the maps by name."""
        maps = self.bottom_up(x)
        coarsest, *finer = (maps[name] for name in self.in_features)
        results = [self.detect1(coarsest)]
        for number, fine in enumerate(finer, start=1):
            narrow = getattr(self, f"conv{number}")(results[-1])
            grown = F.interpolate(narrow, size=fine.shape[-2:], mode="nearest")
            mix = getattr(self, f"detect{number + 1}")
            results.append(mix(torch.cat([grown, fine], dim=1)))
        return dict(zip(self._out_features, results, strict=True))


@BACKBONE_REGISTRY.register()
def build_darknet53_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> Darknet53:
    """Darknet-53 as `MODEL.DARKNET` describes it."""
    node = cfg.MODEL.DARKNET
    return Darknet53(
        node.WIDTH,
        node.OUT_FEATURES,
        norm=node.NORM,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        in_channels=input_shape.channels,
    )


@BACKBONE_REGISTRY.register()
def build_yolov3_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> YOLOv3Pyramid:
    """Darknet-53 and the pyramid of YOLOv3, as `MODEL.DARKNET` describes them."""
    return YOLOv3Pyramid(build_darknet53_backbone(cfg, input_shape), norm=cfg.MODEL.DARKNET.NORM)
