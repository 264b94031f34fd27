"""RegNet: residual networks whose widths follow a line.

Source: Radosavovic 2020, arXiv:2003.13678.
"""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from d2lite.config import CfgNode
from d2lite.layers import CNNBlockBase, ShapeSpec
from d2lite.layers.batch_norm import Norm
from d2lite.utils.errors import ConfigError

from .backbone import PyramidBackbone, StagedBackbone, check_maps
from .build import BACKBONE_REGISTRY
from .pyramid import build_pyramid
from .regnet_blocks import (
    SE,
    Activation,
    BasicTransform,
    BlockParams,
    BottleneckTransform,
    ResBasicBlock,
    ResBottleneckBlock,
    ResStem,
    SimpleStem,
    VanillaBlock,
    conv2d,
    gap2d,
    init_weights,
    pool2d,
)
from .regnet_widths import adjust_block_compatibility, generate_regnet_parameters

__all__ = [
    "SE",
    "AnyNet",
    "AnyStage",
    "BasicTransform",
    "BottleneckTransform",
    "RegNet",
    "ResBasicBlock",
    "ResBottleneckBlock",
    "ResStem",
    "SimpleStem",
    "VanillaBlock",
    "adjust_block_compatibility",
    "build_regnet_backbone",
    "build_regnet_fpn_backbone",
    "conv2d",
    "gap2d",
    "generate_regnet_parameters",
    "init_weights",
    "pool2d",
]


class AnyStage(nn.Module):
    """Blocks "b1", "b2", ...; the first one has the stride.

    Args:
        w_in: channels of the input.
        w_out: channels of the output.
        stride: of the stage.
        d: number of blocks.
        block_class: what to make them of.
        norm: a name or callable for `get_norm`.
        activation_class: makes the activations.
        params: see `BlockParams`.
    """

    def __init__(
        self,
        w_in: int,
        w_out: int,
        stride: int,
        d: int,
        block_class: Callable[..., CNNBlockBase],
        norm: Norm,
        activation_class: Activation,
        params: BlockParams,
    ) -> None:
        super().__init__()
        for i in range(d):
            block = block_class(
                w_out if i else w_in, w_out, 1 if i else stride, norm, activation_class, params
            )
            self.add_module(f"b{i + 1}", block)

    def forward(self, x: Tensor) -> Tensor:
        """(N, w_in, H, W) -> (N, w_out, H / stride, W / stride)."""
        for block in self.children():
            x = block(x)
        return x


class AnyNet(StagedBackbone):
    """A stem and stages "s1", "s2", ... of any widths.

    Args:
        stem_class: makes the stem.
        stem_width: its channels.
        block_class: what the stages are made of.
        depths: blocks of each stage.
        widths: channels of each stage.
        group_widths: channels a group, of each stage.
        strides: of each stage.
        bottleneck_ratios: width in the middle of a block over its width, of each stage.
        se_ratio: channels in the middle of squeeze and excitation over those of the block's
            input; 0 for none.
        activation_class: makes the activations.
        freeze_at: see `StagedBackbone.freeze`.
        norm: a name or callable for `get_norm`.
        out_features: the maps to return, of "stem", "s1", ...; the last one when left out.
    """

    def __init__(
        self,
        *,
        stem_class: Callable[..., CNNBlockBase],
        stem_width: int,
        block_class: Callable[..., CNNBlockBase],
        depths: Sequence[int],
        widths: Sequence[int],
        group_widths: Sequence[int],
        strides: Sequence[int],
        bottleneck_ratios: Sequence[float],
        se_ratio: float,
        activation_class: Activation,
        freeze_at: int = 0,
        norm: Norm = "BN",
        out_features: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.stem = stem_class(3, stem_width, norm, activation_class)
        self.stage_names = tuple(f"s{i}" for i in range(1, len(depths) + 1))
        stride, width = self.stem.stride, stem_width
        self._out_feature_strides = {"stem": stride}
        self._out_feature_channels = {"stem": width}
        for name, depth, width_out, step, ratio, group in zip(
            self.stage_names, depths, widths, strides, bottleneck_ratios, group_widths, strict=True
        ):
            params = {"bot_mul": ratio, "group_w": group, "se_r": se_ratio}
            stage = AnyStage(
                width, width_out, step, depth, block_class, norm, activation_class, params
            )
            self.add_module(name, stage)
            stride, width = stride * step, width_out
            self._out_feature_strides[name] = stride
            self._out_feature_channels[name] = width
        self.apply(init_weights)
        self._out_features = list(out_features or self.stage_names[-1:])
        known = list(self._out_feature_strides)
        check_maps("a RegNet", self._out_features, known, "MODEL.REGNET.OUT_FEATURES")
        self.freeze(freeze_at)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Compute the wanted maps.

        Args:
            x: (N, 3, H, W) float.

        Returns:
            name -> (N, channels, H / stride, W / stride).
        """
        return self.run_stages(x)[0]


class RegNet(AnyNet):
    """An `AnyNet` whose widths are quantised from the line w_0 + w_a * block.

    Args:
        stem_class: makes the stem.
        stem_width: its channels.
        block_class: what the stages are made of.
        depth: number of blocks in all.
        w_a: slope of the line.
        w_0: where it starts.
        w_m: from one width to the next, before rounding to multiples of 8.
        group_width: channels a group.
        stride: of each stage.
        bottleneck_ratio: width in the middle of a block over its width.
        se_ratio: as in `AnyNet`, and so the rest.
        activation_class: see there; ReLU when left out.
        freeze_at: see there.
        norm: see there.
        out_features: see there.
    """

    def __init__(
        self,
        *,
        stem_class: Callable[..., CNNBlockBase],
        stem_width: int,
        block_class: Callable[..., CNNBlockBase],
        depth: int,
        w_a: float,
        w_0: int,
        w_m: float,
        group_width: int,
        stride: int = 2,
        bottleneck_ratio: float = 1.0,
        se_ratio: float = 0.0,
        activation_class: Activation | None = None,
        freeze_at: int = 0,
        norm: Norm = "BN",
        out_features: Sequence[str] | None = None,
    ) -> None:
        widths, depths = generate_regnet_parameters(w_a, w_0, w_m, depth)[:2]
        stages = len(widths)
        widths, ratios, groups = adjust_block_compatibility(
            widths, [bottleneck_ratio] * stages, [group_width] * stages
        )
        super().__init__(
            stem_class=stem_class,
            stem_width=stem_width,
            block_class=block_class,
            depths=depths,
            widths=widths,
            group_widths=groups,
            strides=[stride] * stages,
            bottleneck_ratios=ratios,
            se_ratio=se_ratio,
            activation_class=activation_class or partial(nn.ReLU, inplace=True),
            freeze_at=freeze_at,
            norm=norm,
            out_features=out_features,
        )


@BACKBONE_REGISTRY.register()
def build_regnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> RegNet:
    """Make the RegNet that `MODEL.REGNET` describes, frozen up to `MODEL.BACKBONE.FREEZE_AT`."""
    if input_shape.channels != 3:
        raise ConfigError(
            f"A RegNet takes images of 3 channels, not {input_shape.channels} "
            "(MODEL.PIXEL_MEAN has one number a channel)."
        )
    node = cfg.MODEL.REGNET
    return RegNet(
        stem_class=SimpleStem,
        stem_width=node.STEM_WIDTH,
        block_class=ResBottleneckBlock,
        depth=node.DEPTH,
        w_a=node.W_A,
        w_0=node.W_0,
        w_m=node.W_M,
        group_width=node.GROUP_WIDTH,
        se_ratio=node.SE_RATIO,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        norm=node.NORM,
        out_features=node.OUT_FEATURES,
    )


@BACKBONE_REGISTRY.register()
def build_regnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> PyramidBackbone:
    """The RegNet of `MODEL.REGNET` under the pyramid of `MODEL.FPN`, see `build_pyramid`."""
    return build_pyramid(cfg, build_regnet_backbone(cfg, input_shape))
