"""ResNet and ResNeXt, of any depth, and how they are made from a configuration."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from torch._jit_internal import is_scripting

from d2lite.config import CfgNode
from d2lite.layers import (
    ChannelAndSpatialAttention,
    CNNBlockBase,
    DropBlock,
    EfficientChannelAttention,
    GlobalContext,
    NonLocal,
    PoolPyramid,
    ReceptiveFieldBlock,
    ShapeSpec,
)
from d2lite.layers.frozen_batch_norm import scales_at_once
from d2lite.utils.errors import ArgumentError, ConfigError

from .backbone import Backbone, StagedBackbone, check_maps
from .build import BACKBONE_REGISTRY
from .recompute import RecomputedSequential
from .resnet_blocks import (
    BasicBlock,
    BasicStem,
    BottleneckBlock,
    DeepStem,
    DeformBottleneckBlock,
    ResidualBlock,
)

__all__ = [
    "BasicBlock",
    "BasicStem",
    "BottleneckBlock",
    "DeformBottleneckBlock",
    "ResNet",
    "ResNetBlockBase",
    "build_resnet_backbone",
    "make_stage",
]

ResNetBlockBase = CNNBlockBase

BLOCKS_PER_STAGE = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
_PER_BLOCK = "_per_block"
# Each makes a layer for a number of channels, the share of them that its hidden layer has, and a
# norm.
_PLUGINS: dict[str, Callable[[int, float, str], nn.Module]] = {
    "non_local": lambda channels, ratio, _: NonLocal(channels, ratio),
    "global_context": lambda channels, ratio, _: GlobalContext(channels, ratio),
    "cbam": lambda channels, ratio, _: ChannelAndSpatialAttention(channels, ratio),
    "eca": lambda channels, *_: EfficientChannelAttention(channels),
    "rfb": lambda channels, ratio, _: ReceptiveFieldBlock(channels, ratio),
    "spp": lambda channels, _, norm: PoolPyramid(channels, norm),
    "drop_block": lambda *_: DropBlock(),
}


class ResNet(StagedBackbone):
    """A stem and stages of residual blocks.

    The maps are "stem", "res2", "res3", ... and with `num_classes` also "linear", the class
    scores. Stages that no wanted map needs are not built.

    Args:
        stem: the first layers; has `stride` and `out_channels`.
        stages: the blocks of each stage.
        num_classes: add a linear classifier of so many classes.
        out_features: the maps to return; the last one when left out.
        freeze_at: see `StagedBackbone.freeze`.
        use_act_checkpoint: compute the blocks again in the backward pass, to save memory.
    """

    __jit_unused_properties__: ClassVar[list[str]] = [*Backbone.__jit_unused_properties__, "stages"]

    def __init__(
        self,
        stem: Any,
        stages: Sequence[Sequence[Any]],
        num_classes: int | None = None,
        out_features: Sequence[str] | None = None,
        freeze_at: int = 0,
        use_act_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        names = [f"res{i}" for i in range(2, 2 + len(stages))]
        if not out_features:
            out_features = [names[-1] if num_classes is None else "linear"]
        known = ["stem", *names, *([] if num_classes is None else ["linear"])]
        check_maps("a ResNet", out_features, known, "MODEL.RESNETS.OUT_FEATURES")
        if "linear" not in out_features:
            names = names[: max(known.index(name) for name in out_features)]

        self.stem = stem
        self.num_classes = num_classes
        self._out_features = list(out_features)
        self._out_feature_strides = {"stem": stem.stride}
        self._out_feature_channels = {"stem": stem.out_channels}
        stride, channels = stem.stride, stem.out_channels
        self.stage_names = tuple(names)
        for name, blocks in zip(names, stages, strict=False):
            chain = RecomputedSequential if use_act_checkpoint else nn.Sequential
            self.add_module(name, chain(*blocks))
            for block in blocks:
                stride *= block.stride
            channels = blocks[-1].out_channels
            self._out_feature_strides[name] = stride
            self._out_feature_channels[name] = channels
        if num_classes is not None:
            self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
            self.linear = nn.Linear(channels, num_classes)
            # Goyal 2017, arXiv:1706.02677, section 5.1: the classifier starts with deviation 0.01.
            nn.init.normal_(self.linear.weight, std=0.01)
            self._out_feature_strides["linear"] = None
            self._out_feature_channels["linear"] = num_classes
        self.freeze(freeze_at)

    @property
    def stages(self) -> list[nn.Sequential]:
        """The stages that were built, first to last."""
        return [getattr(self, name) for name in self.stage_names]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Compute the wanted maps.

        Args:
            x: (N, C, H, W) float.

        Returns:
            name -> (N, channels, H / stride, W / stride); "linear" -> (N, num_classes).
        """
        if is_scripting():
            maps, last = self.run_stages(x)
        else:
            with scales_at_once(self):
                maps, last = self.run_stages(x)
        # Two conditions, of which TorchScript decides the first while it compiles.
        if self.num_classes is not None and "linear" in self._out_features:
            maps["linear"] = self.linear(self.avgpool(last).flatten(1))
        return maps

    @staticmethod
    def make_stage(
        block_class: type[CNNBlockBase],
        num_blocks: int,
        *,
        in_channels: int,
        out_channels: int,
        **kwargs: Any,
    ) -> list[CNNBlockBase]:
        """Make the blocks of one stage.

        Args:
            block_class: what to make.
            num_blocks: how many.
            in_channels: channels that the first block is given.
            out_channels: channels of every block's result.
            **kwargs: further arguments of the block. `NAME_per_block=[...]` gives each block its
                own NAME, anything else goes to all.

        Raises:
            ArgumentError: for a list of another length, or a NAME given both ways.
        """
        common = {k: v for k, v in kwargs.items() if not k.endswith(_PER_BLOCK)}
        own = {k.removesuffix(_PER_BLOCK): v for k, v in kwargs.items() if k.endswith(_PER_BLOCK)}
        for name, values in own.items():
            if len(values) != num_blocks or name in common:
                raise ArgumentError(
                    f"{name}{_PER_BLOCK}={values!r} for a stage of {num_blocks} blocks. Give one "
                    f"value a block, and not {name} too."
                )
        return [
            block_class(
                in_channels=out_channels if i else in_channels,
                out_channels=out_channels,
                **common,
                **{name: values[i] for name, values in own.items()},
            )
            for i in range(num_blocks)
        ]

    @staticmethod
    def make_default_stages(
        depth: int, block_class: type[CNNBlockBase] | None = None, **kwargs: Any
    ) -> list[list[CNNBlockBase]]:
        """Make the four stages of a ResNet of the paper.

        Args:
            depth: 18, 34, 50, 101 or 152.
            block_class: `BasicBlock` below depth 50 and `BottleneckBlock` from there when left
                out; another class gives the widths of `BottleneckBlock` from depth 50.
            **kwargs: further arguments of the block.
        """
        _check_depth(depth)
        block_class = block_class or (BasicBlock if depth < 50 else BottleneckBlock)
        widths = (64, 64, 128, 256, 512) if depth < 50 else (64, 256, 512, 1024, 2048)
        stages = []
        for i, num_blocks in enumerate(BLOCKS_PER_STAGE[depth]):
            options = dict(kwargs)
            if issubclass(block_class, BottleneckBlock):
                options.setdefault("bottleneck_channels", widths[i + 1] // 4)
            options |= {"in_channels": widths[i], "out_channels": widths[i + 1]}
            stages.append(make_stage(block_class, num_blocks, 1 if i == 0 else 2, **options))
        return stages


def make_stage(
    block_class: type[CNNBlockBase],
    num_blocks: int,
    first_stride: int | None = None,
    **kwargs: Any,
) -> list[CNNBlockBase]:
    """`ResNet.make_stage`, to which the stride of the first block alone can be given.

    Args:
        block_class: what to make.
        num_blocks: how many.
        first_stride: of the first block, in place of `stride_per_block`.
        **kwargs: see there.
    """
    if first_stride is not None:
        kwargs["stride_per_block"] = [first_stride, *[1] * (num_blocks - 1)]
    return ResNet.make_stage(block_class, num_blocks, **kwargs)


def _check_depth(depth: int) -> None:
    if depth not in BLOCKS_PER_STAGE:
        raise ConfigError(
            f"No ResNet of depth {depth} (MODEL.RESNETS.DEPTH); known: {list(BLOCKS_PER_STAGE)}."
        )


def _check_resnets(node: CfgNode) -> None:
    """Refuse values of MODEL.RESNETS that do not go together, all at once."""
    _check_depth(node.DEPTH)
    wrong = []
    if node.RES5_DILATION not in (1, 2):
        wrong.append(f"RES5_DILATION={node.RES5_DILATION}: use 1 or 2")
    if len(node.DEFORM_ON_PER_STAGE) != 4:
        wrong.append(f"DEFORM_ON_PER_STAGE={node.DEFORM_ON_PER_STAGE}: give 4 values, res2 to res5")
    if node.PLUGIN and node.PLUGIN not in _PLUGINS:
        wrong.append(f"PLUGIN={node.PLUGIN!r}: use one of {[*_PLUGINS]}, or '' for nothing")
    if node.PLUGIN and not node.PLUGIN_RATIO > 0:
        wrong.append(f"PLUGIN_RATIO={node.PLUGIN_RATIO}: give a share above 0")
    if len(node.PLUGIN_ON_PER_STAGE) != 4:
        wrong.append(f"PLUGIN_ON_PER_STAGE={node.PLUGIN_ON_PER_STAGE}: give 4 values, res2 to res5")
    if node.DEPTH < 50:
        # The blocks of two 3 x 3 convolutions know neither bottleneck, dilation nor groups.
        wanted = {"RES5_DILATION": 1, "NUM_GROUPS": 1}
        wrong += [
            f"{key}={node[key]}: ResNet-{node.DEPTH} needs {value}"
            for key, value in wanted.items()
            if node[key] != value
        ]
        # DIFFERS: detectron2 takes 64 alone. Fewer make the narrow networks that suit a CPU; more,
        # such as the 256 that is the default for bottleneck blocks, are taken for a mistake.
        if node.RES2_OUT_CHANNELS > 64:
            wrong.append(
                f"RES2_OUT_CHANNELS={node.RES2_OUT_CHANNELS}: ResNet-{node.DEPTH} needs 64, or "
                "fewer for a narrow network"
            )
        if any(node.DEFORM_ON_PER_STAGE):
            wrong.append(f"DEFORM_ON_PER_STAGE: ResNet-{node.DEPTH} has no deformable blocks")
    if node.AVG_DOWN and any(node.DEFORM_ON_PER_STAGE):
        wrong.append("AVG_DOWN=True: deformable blocks need False")
    if wrong:
        raise ConfigError("MODEL.RESNETS does not fit together. " + ". ".join(wrong) + ".")


def _stages_from_config(node: CfgNode) -> list[list[CNNBlockBase]]:
    """The four stages that MODEL.RESNETS describes."""
    in_channels, out_channels = node.STEM_OUT_CHANNELS, node.RES2_OUT_CHANNELS
    width = node.NUM_GROUPS * node.WIDTH_PER_GROUP
    stages = []
    for i, num_blocks in enumerate(BLOCKS_PER_STAGE[node.DEPTH]):
        dilation = node.RES5_DILATION if i == 3 else 1
        first_stride = 1 if i == 0 or dilation == 2 else 2
        options: dict[str, Any] = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "norm": node.NORM,
        }
        if node.AVG_DOWN:
            options["avg_down"] = True
        block_class: type[CNNBlockBase] = BasicBlock
        if node.AVG_DOWN and node.DEPTH < 50:
            # Published ResNet-D 18 and 34 have a projection in every stage.
            options["project_per_block"] = [True, *[False] * (num_blocks - 1)]
        if node.DEPTH >= 50:
            block_class = BottleneckBlock
            options |= {
                "bottleneck_channels": width,
                "stride_in_1x1": node.STRIDE_IN_1X1,
                "dilation": dilation,
                "num_groups": node.NUM_GROUPS,
            }
        if node.DEFORM_ON_PER_STAGE[i]:
            block_class = DeformBottleneckBlock
            options["deform_modulated"] = node.DEFORM_MODULATED
            options["deform_num_groups"] = node.DEFORM_NUM_GROUPS
        stages.append(make_stage(block_class, num_blocks, first_stride, **options))
        if node.PLUGIN and node.PLUGIN_ON_PER_STAGE[i]:
            for block in stages[-1]:
                assert isinstance(block, ResidualBlock)
                # New layers have no statistics that could be frozen.
                norm = "" if node.NORM == "FrozenBN" else node.NORM
                block.add_plugin(_PLUGINS[node.PLUGIN](out_channels, node.PLUGIN_RATIO, norm))
        in_channels, out_channels, width = out_channels, 2 * out_channels, 2 * width
    return stages


@BACKBONE_REGISTRY.register()
def build_resnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ResNet:
    """Make the ResNet that `MODEL.RESNETS` describes, frozen up to `MODEL.BACKBONE.FREEZE_AT`."""
    node = cfg.MODEL.RESNETS
    _check_resnets(node)
    stem_class = DeepStem if node.DEEP_STEM else BasicStem
    stem = stem_class(input_shape.channels, node.STEM_OUT_CHANNELS, norm=node.NORM)
    return ResNet(
        stem,
        _stages_from_config(node),
        out_features=node.OUT_FEATURES,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        use_act_checkpoint=node.USE_ACT_CHECKPOINT,
    )
