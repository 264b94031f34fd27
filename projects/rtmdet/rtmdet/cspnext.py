"""CSPNeXt: the backbone of RTMDet, and the pyramid on it that runs down and up again.

N images; maps "res2" to "res5" of strides 4 to 32.

Source: Lyu 2022, arXiv:2212.07784, section 3.1; Liu 2018, arXiv:1803.01534, for the pyramid.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.config import CfgNode
from d2lite.layers import FrozenBatchNorm2d, ShapeSpec
from d2lite.layers.batch_norm import Norm
from d2lite.modeling import BACKBONE_REGISTRY, Backbone
from d2lite.modeling.backbone.backbone import check_maps

from .blocks import ConvStep, CSPLayer, PoolPyramid

# Channels of the stem and of the stages' maps, and blocks of the stages, at factors of 1.
_CHANNELS = (64, 128, 256, 512, 1024)
_BLOCKS = (3, 6, 6, 3)


class CSPNeXt(Backbone):
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
                    norm=norm,
                    has_shortcut=not is_last,
                    has_attention=True,
                ),
            ]
            self.add_module(f"stage{number}", nn.Sequential(*layers))
        self._out_features = list(out_features)
        self._out_feature_channels = dict(zip(names, widths[1:], strict=True))
        self._out_feature_strides = {name: 4 * 2**i for i, name in enumerate(names)}
        self._size_divisibility = 32
        for part in self._parts()[: max(freeze_at, 0)]:
            part.requires_grad_(False)
            FrozenBatchNorm2d.convert_frozen_batchnorm(part)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, in_channels, H, W) -> the wanted maps by name; H and W are multiples of 32."""
        maps = {}
        stem, *stages = self._parts()
        x = stem(x)
        for name, stage in zip(self._out_feature_channels, stages, strict=True):
            x = stage(x)
            if name in self._out_features:
                maps[name] = x
        return maps

    def _parts(self) -> list[nn.Module]:
        return [self.stem, *(getattr(self, f"stage{i}") for i in range(1, len(_BLOCKS) + 1))]


class CSPNeXtPAFPN(Backbone):
    """Maps "p3", "p4", "p5" of one width: the backbone's, mixed from coarse to fine and back.

    Args:
        bottom_up: the network below; its maps, finest first, have doubling strides.
        out_channels: of every map.
        blocks: of each layer of two branches.
        norm: see `CSPNeXt`.
    """

    def __init__(self, bottom_up: Backbone, out_channels: int, blocks: int, *, norm: Norm) -> None:
        super().__init__()
        shapes: dict[str, ShapeSpec] = bottom_up.output_shape()
        self.in_features = sorted(shapes, key=lambda name: shapes[name].stride)
        widths = [shapes[name].channels for name in self.in_features]
        pairs = list(pairwise(widths))
        self.bottom_up = bottom_up
        # From coarse to fine.
        self.reduce_layers = nn.ModuleList(
            ConvStep(coarse, fine, norm=norm) for fine, coarse in reversed(pairs)
        )
        self.top_down_blocks = nn.ModuleList(
            CSPLayer(2 * fine, fine, blocks, has_shortcut=False, norm=norm)
            for fine, _ in reversed(pairs)
        )
        # And from fine to coarse.
        self.downsamples = nn.ModuleList(
            ConvStep(fine, fine, 3, stride=2, norm=norm) for fine, _ in pairs
        )
        self.bottom_up_blocks = nn.ModuleList(
            CSPLayer(2 * fine, coarse, blocks, has_shortcut=False, norm=norm)
            for fine, coarse in pairs
        )
        self.out_convs = nn.ModuleList(
            ConvStep(width, out_channels, 3, norm=norm) for width in widths
        )
        strides = [shapes[name].stride for name in self.in_features]
        self._out_features = [f"p{stride.bit_length() - 1}" for stride in strides]
        self._out_feature_channels = dict.fromkeys(self._out_features, out_channels)
        self._out_feature_strides = dict(zip(self._out_features, strides, strict=True))
        self._size_divisibility = strides[-1]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) -> "p3", ... of (N, out_channels, H / stride, W / stride)."""
        maps = self.bottom_up(x)
        *finer, top = (maps[name] for name in self.in_features)
        kept = []
        for fine, reduce, mix in zip(
            reversed(finer), self.reduce_layers, self.top_down_blocks, strict=True
        ):
            top = reduce(top)
            kept.append(top)
            grown = F.interpolate(top, size=fine.shape[-2:], mode="nearest")
            top = mix(torch.cat([grown, fine], dim=1))
        results = [top]
        for coarse, halve, mix in zip(
            reversed(kept), self.downsamples, self.bottom_up_blocks, strict=True
        ):
            results.append(mix(torch.cat([halve(results[-1]), coarse], dim=1)))
        return {
            name: conv(result)
            for name, conv, result in zip(self._out_features, self.out_convs, results, strict=True)
        }


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
