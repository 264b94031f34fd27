"""Feature pyramid: the maps of a bottom-up network, mixed from coarse to fine.

Source: Lin 2017, arXiv:1612.03144; the two further levels: Lin 2017, arXiv:1708.02002.
"""

import copy
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.config import CfgNode
from d2lite.layers import ShapeSpec
from d2lite.layers.batch_norm import Norm
from d2lite.utils.errors import ConfigError

from ..weight_init import filled_conv, xavier_fill
from .backbone import Backbone, PyramidBackbone, check_maps
from .build import BACKBONE_REGISTRY
from .fpn_additions import BalancedMaps, BottomUpPath
from .high_resolution_pyramid import HighResolutionPyramid
from .resnet import build_resnet_backbone
from .stacked_pyramid import NASFPN, BiFPN

__all__ = [
    "FPN",
    "LastLevelMaxPool",
    "LastLevelP6P7",
    "build_fcos_resnet_fpn_backbone",
    "build_resnet_fpn_backbone",
    "build_retinanet_resnet_fpn_backbone",
]


class FPN(PyramidBackbone):
    """Maps "p2", "p3", ... of one width, named after the logarithm of their stride.

    Args:
        bottom_up: the network below.
        in_features: its maps to use, fine to coarse, each of twice the stride of the one before.
        out_channels: channels of every result.
        norm: a name or callable for `get_norm`; "" for none, and then with bias.
        top_block: makes further, coarser maps. It has `in_feature`, the name of the map that it
            is given (of the bottom-up network or of the pyramid), and `num_levels`.
        fuse_type: "sum" or "avg", how two maps become one.
        square_pad: pad images to a square of at least so many pixels a side; 0 for any shape.
        has_bottom_up_path: mix the maps once more, from fine to coarse; see `BottomUpPath`.
        balance: what the mean of all maps goes through that is added to each; "" for no mean. See
            `BalancedMaps`.
        balance_level: likewise.

    Raises:
        ConfigError: if maps are missing or their strides do not double.
    """

    def __init__(
        self,
        bottom_up: Backbone,
        in_features: Sequence[str],
        out_channels: int,
        norm: Norm = "",
        top_block: Any = None,
        fuse_type: str = "sum",
        square_pad: int = 0,
        has_bottom_up_path: bool = False,
        balance: str = "",
        balance_level: int = 2,
    ) -> None:
        super().__init__()
        if fuse_type not in ("sum", "avg"):
            raise ConfigError(f'MODEL.FPN.FUSE_TYPE={fuse_type!r}: use "sum" or "avg".')
        shapes = _checked_shapes(bottom_up, in_features)
        self.in_features = tuple(in_features)
        levels = [int(math.log2(shape.stride)) for shape in shapes]
        self._mixed_names = [f"p{level}" for level in levels]
        # Coarse to fine, as they run; plain lists, since the modules are attributes already.
        lateral_convs: list[nn.Module] = []
        output_convs: list[nn.Module] = []
        for level, shape in zip(levels, shapes, strict=True):
            for role, channels, size, convs in (
                ("lateral", shape.channels, 1, lateral_convs),
                ("output", out_channels, 3, output_convs),
            ):
                conv = filled_conv(None, channels, out_channels, size, norm, has_bias=norm == "")
                self.add_module(f"fpn_{role}{level}", conv)
                convs.insert(0, conv)
            # After both are made, so that a seed gives the same start values as in detectron2.
            xavier_fill(lateral_convs[0])
            xavier_fill(output_convs[0])
        self.lateral_convs, self.output_convs = lateral_convs, output_convs
        self.top_block = top_block
        self.bottom_up = bottom_up
        self._fuse_type = fuse_type
        self._square_pad = square_pad
        # The stride of the coarsest map that is mixed.
        self._size_divisibility = shapes[-1].stride

        if top_block is not None:
            sources = [*bottom_up.output_shape(), *self._mixed_names]
            if top_block.in_feature not in sources:
                raise ConfigError(
                    f"{type(top_block).__name__} of the feature pyramid wants "
                    f"{top_block.in_feature!r}, but there are only {sources}. Extend "
                    "MODEL.FPN.IN_FEATURES and MODEL.RESNETS.OUT_FEATURES."
                )
        self._name_maps(levels, out_channels, top_block)
        self._top_names = self._out_features[len(levels) :]
        self.bottom_up_path = (
            BottomUpPath(len(shapes), out_channels, norm) if has_bottom_up_path else None
        )
        self.balance = BalancedMaps(out_channels, balance, balance_level) if balance else None

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Compute the pyramid.

        Args:
            x: (N, C, H, W) float; H and W multiples of `size_divisibility`.

        Returns:
            "p2", ... -> (N, out_channels, H / stride, W / stride), fine to coarse.
        """
        below = self.bottom_up(x)
        pyramid: dict[str, Tensor] = {}
        mixed = below[self.in_features[-1]]
        # TorchScript compiles this: it knows no strict zip.
        for i, (lateral_conv, output_conv) in enumerate(
            zip(self.lateral_convs, self.output_convs)  # noqa: B905
        ):
            lateral = lateral_conv(below[self.in_features[-1 - i]])
            mixed = lateral if i == 0 else self._mix(lateral, mixed)
            pyramid[self._mixed_names[-1 - i]] = output_conv(mixed)
        if self.bottom_up_path is not None:
            fine_to_coarse = {name: pyramid[name] for name in self._mixed_names}
            pyramid = self.bottom_up_path(fine_to_coarse)
        if self.top_block is not None:
            source = self.top_block.in_feature
            coarser = self.top_block(below[source] if source in below else pyramid[source])
            for name, map_ in zip(self._top_names, coarser):  # noqa: B905
                pyramid[name] = map_
        results = {name: pyramid[name] for name in self._out_features}
        return results if self.balance is None else self.balance(results)

    def __prepare_scriptable__(self) -> "FPN":
        """A copy for TorchScript, which knows lists of modules as a ModuleList alone.

        torch puts it in the place of this one in a module around it, so all names stay.
        """
        ready = copy.copy(self)
        ready._modules = dict(self._modules)
        for name in ("lateral_convs", "output_convs"):
            setattr(ready, name, nn.ModuleList(getattr(self, name)))
        return ready

    def _mix(self, fine: Tensor, coarse: Tensor) -> Tensor:
        total = fine + F.interpolate(coarse, size=fine.shape[-2:], mode="nearest")
        return total / 2 if self._fuse_type == "avg" else total


def _checked_shapes(bottom_up: Backbone, in_features: Sequence[str]) -> list[ShapeSpec]:
    known = bottom_up.output_shape()
    name, fix = (
        type(bottom_up).__name__,
        "Choose among these, or extend MODEL.RESNETS.OUT_FEATURES.",
    )
    check_maps(name, in_features, list(known), "MODEL.FPN.IN_FEATURES", fix)
    shapes = [known[name] for name in in_features]
    _assert_strides_are_log2_contiguous([shape.stride for shape in shapes])
    return shapes


def _assert_strides_are_log2_contiguous(strides: Sequence[int]) -> None:
    """Refuse strides of which one is not twice the one before."""
    if any(b != 2 * a for a, b in pairwise(strides)):
        raise ConfigError(
            f"The maps of a feature pyramid have strides {list(strides)}; it needs each twice the "
            "one before. Use MODEL.RESNETS.RES5_DILATION=1 and neighbouring maps in order of "
            "stride in MODEL.FPN.IN_FEATURES."
        )


class LastLevelMaxPool(nn.Module):
    """One more level, "p6": every second cell of "p5"."""

    def __init__(self, in_feature: str = "p5") -> None:
        super().__init__()
        self.num_levels = 1
        self.in_feature = in_feature

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, C, H, W) -> one map (N, C, H / 2, W / 2)."""
        return [F.max_pool2d(x, kernel_size=1, stride=2)]


class LastLevelP6P7(nn.Module):
    """Two more levels by strided convolutions, as RetinaNet has them.

    Args:
        in_channels: channels of the map below.
        out_channels: channels of the results.
        in_feature: name of the map below.
        has_relu: apply a ReLU between the two convolutions.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        in_feature: str = "res5",
        has_relu: bool = True,
    ) -> None:
        super().__init__()
        self.num_levels = 2
        self.in_feature = in_feature
        self._has_relu = has_relu
        self.p6 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(out_channels, out_channels, 3, stride=2, padding=1)
        xavier_fill(self.p6)
        xavier_fill(self.p7)

    def forward(self, c5: Tensor) -> list[Tensor]:
        """(N, in_channels, H, W) -> maps of half and a quarter of its size."""
        p6 = self.p6(c5)
        return [p6, self.p7(F.relu(p6) if self._has_relu else p6)]


_STACKED = {"nas": NASFPN, "bifpn": BiFPN}


def make_pyramid(
    cfg: CfgNode, bottom_up: Backbone, top_block: Any, square_pad: int = 0
) -> PyramidBackbone:
    """Put the pyramid of `MODEL.FPN` on a network.

    Args:
        cfg: the configuration.
        bottom_up: the network below; `MODEL.FPN.IN_FEATURES` names maps of it.
        top_block: see `FPN`; other pyramids make as many maps by themselves.
        square_pad: see `FPN`.

    Raises:
        ConfigError: for an unknown `MODEL.FPN.FUSION`, or maps that do not fit.
    """
    node = cfg.MODEL.FPN
    if node.FUSION == "top_down":
        return FPN(
            bottom_up,
            in_features=node.IN_FEATURES,
            out_channels=node.OUT_CHANNELS,
            norm=node.NORM,
            top_block=top_block,
            fuse_type=node.FUSE_TYPE,
            square_pad=square_pad,
            has_bottom_up_path=node.BOTTOM_UP_PATH,
            balance=node.BALANCE,
            balance_level=node.BALANCE_LEVEL,
        )
    if node.FUSION not in (*_STACKED, "high_resolution"):
        known = ["top_down", *_STACKED, "high_resolution"]
        raise ConfigError(f"MODEL.FPN.FUSION={node.FUSION!r}: use one of {known}.")
    shapes = _checked_shapes(bottom_up, node.IN_FEATURES)
    num_maps = len(shapes) + (0 if top_block is None else top_block.num_levels)
    sizes = node.OUT_CHANNELS, num_maps
    pyramid: PyramidBackbone
    if node.FUSION == "high_resolution":
        pyramid = HighResolutionPyramid(bottom_up, node.IN_FEATURES, shapes, *sizes, norm=node.NORM)
    else:
        pyramid = _STACKED[node.FUSION](
            bottom_up, node.IN_FEATURES, shapes, *sizes, node.NUM_STAGES, node.NORM
        )
    pyramid._square_pad = square_pad
    return pyramid


@BACKBONE_REGISTRY.register()
def build_resnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> PyramidBackbone:
    """A ResNet under a feature pyramid, "p2" to "p6" by default, for Faster R-CNN and the like.

    The last map is the one before at every other pixel: "p5" of "p4" where
    MODEL.FPN.IN_FEATURES ends with "res4".
    """
    bottom_up = build_resnet_backbone(cfg, input_shape)
    _checked_shapes(bottom_up, cfg.MODEL.FPN.IN_FEATURES)
    coarsest = cfg.MODEL.FPN.IN_FEATURES[-1].replace("res", "p")
    return make_pyramid(cfg, bottom_up, LastLevelMaxPool(coarsest))


@BACKBONE_REGISTRY.register()
def build_retinanet_resnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> PyramidBackbone:
    """A ResNet under a feature pyramid "p3" to "p7", for RetinaNet."""
    bottom_up = build_resnet_backbone(cfg, input_shape)
    shapes = bottom_up.output_shape()
    if "res5" not in shapes:
        raise ConfigError(
            f"MODEL.RESNETS.OUT_FEATURES={list(shapes)} lacks 'res5', from which 'p6' is made. "
            "Add it."
        )
    top = LastLevelP6P7(
        shapes["res5"].channels,
        cfg.MODEL.FPN.OUT_CHANNELS,
        has_relu=cfg.MODEL.FPN.RELU_BEFORE_P7,
    )
    return make_pyramid(cfg, bottom_up, top)


@BACKBONE_REGISTRY.register()
def build_fcos_resnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> PyramidBackbone:
    """A ResNet under a feature pyramid "p3" to "p7" whose "p6" is made from "p5".

    FCOS has it so, and torchvision's RetinaNet; detectron2's RetinaNet makes "p6" from "res5".
    """
    width = cfg.MODEL.FPN.OUT_CHANNELS
    top = LastLevelP6P7(width, width, in_feature="p5", has_relu=cfg.MODEL.FPN.RELU_BEFORE_P7)
    return make_pyramid(cfg, build_resnet_backbone(cfg, input_shape), top)
