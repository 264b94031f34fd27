"""CSPNeXt: the backbone of RTMDet, and the pyramid on it that runs down and up again.

N images; maps "res2" to "res5" of strides 4 to 32.

Source: Lyu 2022, arXiv:2212.07784, section 3.1; Liu 2018, arXiv:1803.01534, for the pyramid.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

from torch import nn

from d2lite.config import CfgNode
from d2lite.layers import ConvStep, PoolPyramid, ShapeSpec
from d2lite.layers.batch_norm import Norm
from d2lite.modeling import BACKBONE_REGISTRY, Backbone
from d2lite.modeling.backbone.backbone import HalvingBackbone, check_maps
from d2lite.modeling.csp import CSPPAFPN, CSPLayer, next_block

# Channels of the stem and of the stages' maps, and blocks of the stages, at factors of 1.
_CHANNELS = (64, 128, 256, 512, 1024)
_BLOCKS = (3, 6, 6, 3)


class CSPNeXt(HalvingBackbone):
    """A stem and four stages, each of which halves the map.

    Args:
        depth: factor on the numbers of blocks.
        width: factor on the numbers of channels.
        out_features: maps to return, of "res2" ... "res5".
        norm: of all convolutions, see `get_norm`.
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
        freeze_at: int = 0,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        names = [f"res{number}" for number in range(2, 6)]
        check_maps("CSPNeXt", out_features, names, "MODEL.CSPNEXT.OUT_FEATURES")
        widths = [int(channels * width) for channels in _CHANNELS]
        half = widths[0] // 2
        self.stem = nn.Sequential(
            ConvStep(in_channels, half, 3, stride=2, norm=norm),
            ConvStep(half, half, 3, norm=norm),
            ConvStep(half, widths[0], 3, norm=norm),
        )
        for number, (before, channels) in enumerate(pairwise(widths), start=1):
            is_last = number == len(_BLOCKS)
            count = max(round(_BLOCKS[number - 1] * depth), 1)
            layers = [
                ConvStep(before, channels, 3, stride=2, norm=norm),
                *([PoolPyramid(channels, norm)] if is_last else []),
                # The last stage has seen the whole map, and needs no way around its blocks.
                CSPLayer(
                    channels,
                    channels,
                    count,
                    partial(next_block, has_shortcut=not is_last, norm=norm),
                    norm=norm,
                    has_attention=True,
                ),
            ]
            self.add_module(f"stage{number}", nn.Sequential(*layers))
        self._name_stages(
            ["stem", *(f"stage{i}" for i in range(1, len(_BLOCKS) + 1))],
            dict(zip(names, widths[1:], strict=True)),
            out_features,
            stride=4,
            freeze_at=freeze_at,
        )


class CSPNeXtPAFPN(CSPPAFPN):
    """Maps "p3", "p4", "p5" of one width: the backbone's, mixed from coarse to fine and back.

    Args:
        bottom_up: the network below; its maps, finest first, have doubling strides.
        out_channels: of every map.
        blocks: of each layer of two branches.
        norm: see `CSPNeXt`.
    """

    def __init__(self, bottom_up: Backbone, out_channels: int, blocks: int, *, norm: Norm) -> None:
        block = partial(next_block, has_shortcut=False, norm=norm)
        super().__init__(
            bottom_up,
            lambda width, channels: CSPLayer(width, channels, blocks, block, norm=norm),
            lambda width: ConvStep(width, width, 3, stride=2, norm=norm),
            lambda width: ConvStep(width, out_channels, 3, norm=norm),
            out_channels,
            norm=norm,
        )


@BACKBONE_REGISTRY.register()
def build_cspnext_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> CSPNeXt:
    """CSPNeXt as `MODEL.CSPNEXT` describes it."""
    node = cfg.MODEL.CSPNEXT
    return CSPNeXt(
        node.DEPTH,
        node.WIDTH,
        node.OUT_FEATURES,
        norm=node.NORM,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        in_channels=input_shape.channels,
    )


@BACKBONE_REGISTRY.register()
def build_cspnext_pafpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> CSPNeXtPAFPN:
    """CSPNeXt and its pyramid, as `MODEL.CSPNEXT` describes them."""
    node = cfg.MODEL.CSPNEXT
    return CSPNeXtPAFPN(
        build_cspnext_backbone(cfg, input_shape),
        node.PYRAMID_CHANNELS or int(_CHANNELS[2] * node.WIDTH),
        max(round(3 * node.DEPTH), 1),
        norm=node.NORM,
    )
