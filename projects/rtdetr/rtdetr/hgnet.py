"""HGNetv2, the backbone of D-FINE: blocks that join the maps of all their layers.

N images, maps of H x W cells.

Source: PaddleClas's PP-HGNetV2, as described in Zhao 2023 (RT-DETR), arXiv:2304.08069; the learned
affine step is that of Cui 2021 (PP-LCNet) and later models of its authors.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from d2lite.config import CfgNode
from d2lite.layers import FrozenBatchNorm2d, ShapeSpec
from d2lite.layers.batch_norm import Norm
from d2lite.modeling import BACKBONE_REGISTRY, Backbone
from d2lite.modeling.backbone.backbone import check_maps
from d2lite.utils.errors import ConfigError

from .hgnet_blocks import Stage, StageOfBlocks, Stem


def _stages(
    widths: Sequence[tuple[int, int, int]], blocks: Sequence[int], layers: int
) -> list[Stage]:
    return [
        Stage(*width, number, index > 0, index > 1, 5 if index > 1 else 3, layers)
        for index, (width, number) in enumerate(zip(widths, blocks, strict=True))
    ]


# Widths of the stem, and the stages.
VARIANTS: dict[str, tuple[list[int], list[Stage]]] = {
    "B0": (
        [16, 16],
        _stages([(16, 16, 64), (64, 32, 256), (256, 64, 512), (512, 128, 1024)], (1, 1, 2, 1), 3),
    ),
    "B1": (
        [24, 32],
        _stages([(32, 32, 64), (64, 48, 256), (256, 96, 512), (512, 192, 1024)], (1, 1, 2, 1), 3),
    ),
    "B2": (
        [24, 32],
        _stages([(32, 32, 96), (96, 64, 384), (384, 128, 768), (768, 256, 1536)], (1, 1, 3, 1), 4),
    ),
    "B3": (
        [24, 32],
        _stages(
            [(32, 32, 128), (128, 64, 512), (512, 128, 1024), (1024, 256, 2048)], (1, 1, 3, 1), 5
        ),
    ),
    "B4": (
        [32, 48],
        _stages(
            [(48, 48, 128), (128, 96, 512), (512, 192, 1024), (1024, 384, 2048)], (1, 1, 3, 1), 6
        ),
    ),
    "B5": (
        [32, 64],
        _stages(
            [(64, 64, 128), (128, 128, 512), (512, 256, 1024), (1024, 512, 2048)], (1, 2, 5, 2), 6
        ),
    ),
}


class HGNetV2(Backbone):
    """A stem and stages of blocks; the maps are "res2" (4 pixels a cell), "res3", ...

    Args:
        in_channels: channels of the image.
        stem_widths: see `Stem`.
        stages: see `Stage`.
        out_features: the maps to return.
        has_affine: an `Affine` after each ReLU.
        norm: a name or callable for `get_norm`, after each convolution.
        freeze_at: 0 nothing, 1 the stem, 2 the stem and the first stage, and so on.
    """

    def __init__(
        self,
        in_channels: int,
        stem_widths: Sequence[int],
        stages: Sequence[Stage],
        out_features: Sequence[str],
        *,
        has_affine: bool = False,
        norm: Norm = "BN",
        freeze_at: int = 0,
    ) -> None:
        super().__init__()
        names = [f"res{number}" for number in range(2, 2 + len(stages))]
        check_maps("HGNetV2", out_features, names, "MODEL.HGNET.OUT_FEATURES")
        self._names, self._out_features = names, list(out_features)
        self._out_feature_channels, self._out_feature_strides, stride = {}, {}, 4
        for name, stage in zip(names, stages, strict=True):
            stride *= 2 if stage.is_halved else 1
            self._out_feature_strides[name] = stride
            self._out_feature_channels[name] = stage.out_channels
        self.stem = Stem(in_channels, stem_widths, has_affine=has_affine, norm=norm)
        self.stages = nn.ModuleList(
            StageOfBlocks(stage, has_affine=has_affine, norm=norm) for stage in stages
        )
        for part in [self.stem, *self.stages][: max(freeze_at, 0)]:
            part.requires_grad_(False)
            FrozenBatchNorm2d.convert_frozen_batchnorm(part)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, in_channels, H, W) -> the wanted maps."""
        maps = {}
        x = self.stem(x)
        for name, stage in zip(self._names, self.stages, strict=True):
            x = stage(x)
            if name in self._out_features:
                maps[name] = x
        return maps


@BACKBONE_REGISTRY.register()
def build_hgnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> HGNetV2:
    """Make the HGNetV2 that `MODEL.HGNET` describes, frozen up to `MODEL.BACKBONE.FREEZE_AT`.

    Raises:
        ConfigError: for a size that is not known, or a stage that is not 8 numbers.
    """
    node = cfg.MODEL.HGNET
    if node.VARIANT not in VARIANTS:
        raise ConfigError(
            f"MODEL.HGNET.VARIANT is {node.VARIANT!r}; choose one of {', '.join(VARIANTS)}."
        )
    stem_widths, stages = VARIANTS[node.VARIANT]
    wrong = [row for row in node.STAGES if len(row) != len(Stage._fields)]
    if wrong or len(node.STEM_WIDTHS) not in (0, 2):
        raise ConfigError(
            f"MODEL.HGNET.STAGES has {wrong}, or STEM_WIDTHS {node.STEM_WIDTHS} not 2 numbers. A "
            f"stage is a list of {', '.join(Stage._fields)}."
        )
    return HGNetV2(
        input_shape.channels,
        node.STEM_WIDTHS or stem_widths,
        [Stage(*row) for row in node.STAGES] or stages,
        node.OUT_FEATURES,
        has_affine=node.HAS_AFFINE,
        norm=node.NORM,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
    )
