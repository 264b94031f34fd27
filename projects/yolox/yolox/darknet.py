"""CSPDarknet: the backbone of YOLOX, and its pyramid.

N images; maps "res2" to "res5" of strides 4 to 32.

Source: Ge 2021, arXiv:2107.08430; Bochkovskiy 2020, arXiv:2004.10934, for the backbone.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from d2lite.config import CfgNode
from d2lite.layers import ConvStep, PoolPyramid, ShapeSpec
from d2lite.layers.batch_norm import Norm, norm_with
from d2lite.modeling import BACKBONE_REGISTRY
from d2lite.modeling.backbone.backbone import HalvingBackbone, check_maps
from d2lite.modeling.csp import CSPPAFPN, CSPLayer, ResidualPair, SeparableConv

# Channels of the stem and of the stages' maps, and blocks of the stages, at factors of 1.
_CHANNELS = (64, 128, 256, 512, 1024)
_BLOCKS = (3, 9, 9, 3)
# Of all norms; the values of the published models.
_EPS, _MOMENTUM = 1e-3, 0.03

# (channels of the input, of the result, size, stride=...) -> a layer.
Conv = Callable[..., nn.Module]


def published_norm(name: str) -> Norm:
    """The norm that a configuration names, with the numbers of YOLOX."""
    return norm_with(name, eps=_EPS, momentum=_MOMENTUM)


def conv_layer(norm: Norm, depthwise: bool) -> Conv:
    """What makes the convolutions of more than one cell: whole ones, or separable ones."""
    return partial(SeparableConv if depthwise else ConvStep, norm=norm)


def _layer(
    width: int, channels: int, count: int, *, norm: Norm, conv: Conv, has_shortcut: bool
) -> CSPLayer:
    """A layer whose blocks have a convolution of 1 x 1 and one of 3 x 3."""

    def block(half: int) -> nn.Module:
        return ResidualPair(
            ConvStep(half, half, norm=norm), conv(half, half, 3), has_shortcut=has_shortcut
        )

    return CSPLayer(width, channels, count, block, norm=norm)


class Focus(nn.Module):
    """Four neighbouring pixels become the channels of one cell, then a convolution."""

    def __init__(self, in_channels: int, channels: int, norm: Norm) -> None:
        super().__init__()
        self.conv = ConvStep(4 * in_channels, channels, 3, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, channels, H / 2, W / 2)."""
        # Column by column, as the published weights have it.
        parts = [x[..., row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.conv(torch.cat(parts, dim=1))


class CSPDarknet(HalvingBackbone):
    """A stem and four stages, each of which halves the map.

    Args:
        depth: factor on the numbers of blocks.
        width: factor on the numbers of channels.
        out_features: maps to return, of "res2" ... "res5".
        norm: of all convolutions, see `get_norm`.
        depthwise: convolutions of 3 x 3 are separable, but for the stem's.
        freeze_at: 0 trains all, 1 fixes the stem, 2 the first stage too, and so on.
        in_channels: of the images.
    """

    def __init__(
        self,
        depth: float = 1.0,
        width: float = 1.0,
        out_features: Sequence[str] = ("res3", "res4", "res5"),
        *,
        norm: Norm = "BN",
        depthwise: bool = False,
        freeze_at: int = 0,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        names = [f"res{number}" for number in range(2, 6)]
        check_maps("CSPDarknet", out_features, names, "MODEL.CSPDARKNET.OUT_FEATURES")
        widths = [int(channels * width) for channels in _CHANNELS]
        conv = conv_layer(norm, depthwise)
        self.stem = Focus(in_channels, widths[0], norm)
        for number, (before, channels) in enumerate(pairwise(widths), start=1):
            is_last = number == len(_BLOCKS)
            count = max(round(_BLOCKS[number - 1] * depth), 1)
            stage = [
                conv(before, channels, 3, stride=2),
                *([PoolPyramid(channels, norm)] if is_last else []),
                _layer(
                    channels, channels, count, norm=norm, conv=conv, has_shortcut=not is_last
                ),
            ]  # fmt: skip
            self.add_module(f"stage{number}", nn.Sequential(*stage))
        self._name_stages(
            ["stem", *(f"stage{i}" for i in range(1, len(_BLOCKS) + 1))],
            dict(zip(names, widths[1:], strict=True)),
            out_features,
            stride=4,
            freeze_at=freeze_at,
        )


@BACKBONE_REGISTRY.register()
def build_csp_darknet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> CSPDarknet:
    """CSPDarknet as `MODEL.CSPDARKNET` describes it."""
    node = cfg.MODEL.CSPDARKNET
    return CSPDarknet(
        node.DEPTH,
        node.WIDTH,
        node.OUT_FEATURES,
        norm=published_norm(node.NORM),
        depthwise=node.DEPTHWISE,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        in_channels=input_shape.channels,
    )


@BACKBONE_REGISTRY.register()
def build_csp_darknet_pafpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> CSPPAFPN:
    """CSPDarknet and its pyramid, as `MODEL.CSPDARKNET` describes them."""
    node = cfg.MODEL.CSPDARKNET
    norm = published_norm(node.NORM)
    conv = conv_layer(norm, node.DEPTHWISE)
    out_channels = node.PYRAMID_CHANNELS or int(_CHANNELS[2] * node.WIDTH)
    count = max(round(_BLOCKS[0] * node.DEPTH), 1)
    return CSPPAFPN(
        build_csp_darknet_backbone(cfg, input_shape),
        partial(_layer, count=count, norm=norm, conv=conv, has_shortcut=False),
        lambda width: conv(width, width, 3, stride=2),
        lambda width: ConvStep(width, out_channels, norm=norm),
        out_channels,
        norm=norm,
    )
