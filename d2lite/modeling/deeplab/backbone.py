"""The ResNet of DeepLab: three small convolutions first, dilation in place of the last strides."""

from d2lite.config import CfgNode
from d2lite.layers import ShapeSpec
from d2lite.utils.errors import ConfigError

from ..backbone import BACKBONE_REGISTRY
from ..backbone.resnet import BLOCKS_PER_STAGE, BasicStem, BottleneckBlock, ResNet, make_stage
from ..backbone.resnet_blocks import DeepStem

_DEPTHS = (50, 101, 152)

# Its name in code of others.
DeepLabStem = DeepStem


@BACKBONE_REGISTRY.register()
def build_resnet_deeplab_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ResNet:
    """Make the ResNet that `MODEL.RESNETS` describes, with its dilations and its kind of stem.

    A stage with dilation keeps the size of its input. The blocks of res5 have RES5_DILATION times
    the factors of RES5_MULTI_GRID.

    Args:
        cfg: the configuration, with the keys of `add_deeplab_keys`.
        input_shape: of the image.

    Raises:
        ConfigError: for values that do not go together.
    """
    node = cfg.MODEL.RESNETS
    _check(node)
    stem_class = DeepLabStem if node.STEM_TYPE == "deeplab" else BasicStem
    stem = stem_class(input_shape.channels, node.STEM_OUT_CHANNELS, norm=node.NORM)
    in_channels, out_channels = node.STEM_OUT_CHANNELS, node.RES2_OUT_CHANNELS
    width = node.NUM_GROUPS * node.WIDTH_PER_GROUP
    stages = []
    for number, num_blocks in enumerate(BLOCKS_PER_STAGE[node.DEPTH], start=2):
        dilation = {4: node.RES4_DILATION, 5: node.RES5_DILATION}.get(number, 1)
        grid = node.RES5_MULTI_GRID if number == 5 else [1] * num_blocks
        is_strided = number > 2 and dilation == 1
        stages.append(
            make_stage(
                BottleneckBlock,
                num_blocks,
                2 if is_strided else 1,
                in_channels=in_channels,
                out_channels=out_channels,
                bottleneck_channels=width,
                dilation_per_block=[dilation * factor for factor in grid],
                num_groups=node.NUM_GROUPS,
                norm=node.NORM,
                stride_in_1x1=node.STRIDE_IN_1X1,
            )
        )
        in_channels, out_channels, width = out_channels, 2 * out_channels, 2 * width
    return ResNet(
        stem,
        stages,
        out_features=node.OUT_FEATURES,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        use_act_checkpoint=node.USE_ACT_CHECKPOINT,
    )


def _check(node: CfgNode) -> None:
    """Refuse values of MODEL.RESNETS that do not go together, all at once."""
    wrong = []
    if node.DEPTH not in _DEPTHS:
        wrong.append(f"DEPTH={node.DEPTH}: use one of {list(_DEPTHS)}")
    if node.STEM_TYPE not in ("basic", "deeplab"):
        wrong.append(f"STEM_TYPE={node.STEM_TYPE!r}: use basic or deeplab")
    wanted = {1: (1, 2), 2: (4,)}.get(node.RES4_DILATION)
    if wanted is None:
        wrong.append(f"RES4_DILATION={node.RES4_DILATION}: use 1 or 2")
    elif node.RES5_DILATION not in wanted:
        wrong.append(
            f"RES5_DILATION={node.RES5_DILATION}: RES4_DILATION {node.RES4_DILATION} needs "
            f"{' or '.join(map(str, wanted))}"
        )
    if len(node.RES5_MULTI_GRID) != 3:
        wrong.append(f"RES5_MULTI_GRID={node.RES5_MULTI_GRID}: give 3 factors, one a block")
    if any(node.DEFORM_ON_PER_STAGE):
        wrong.append(f"DEFORM_ON_PER_STAGE={node.DEFORM_ON_PER_STAGE}: leave it False here")
    if wrong:
        raise ConfigError("MODEL.RESNETS does not fit together. " + ". ".join(wrong) + ".")
