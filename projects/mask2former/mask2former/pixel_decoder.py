"""MSDeformAttnPixelDecoder: deformable attention over coarse maps, then one finer map for masks.

N images, C channels, L coarse maps of S cells in all.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.layers import Conv2d, ShapeSpec
from d2lite.layers.batch_norm import Norm
from d2lite.modeling.meta_arch.semantic_seg import SEM_SEG_HEADS_REGISTRY
from d2lite.modeling.transformer import DeformableEncoder, Memory
from d2lite.modeling.weight_init import filled_conv, glorot_fill, xavier_fill
from d2lite.utils.errors import ConfigError

# Maps that the decoder of queries looks at, coarsest first.
NUM_LEVELS = 3


def build_pixel_decoder(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> nn.Module:
    """Make the decoder that `MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME` names.

    Args:
        cfg: the configuration.
        input_shape: the feature maps of the backbone, by name.

    Raises:
        ConfigError: if it has no `forward_features`, as heads have none.
    """
    name = cfg.MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME
    made = SEM_SEG_HEADS_REGISTRY.get(name)(cfg, input_shape)
    if not callable(getattr(made, "forward_features", None)):
        raise ConfigError(
            f"MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME {name!r} is not a pixel decoder: it has no "
            "method forward_features. Use MSDeformAttnPixelDecoder."
        )
    return made


@SEM_SEG_HEADS_REGISTRY.register()
class MSDeformAttnPixelDecoder(nn.Module):
    """Encode the coarse maps, and carry the finest of them on to the common stride.

    Args:
        input_shape: maps that are used, by name.
        transformer_dropout: rate in the encoder.
        transformer_nheads: heads of its attention.
        transformer_dim_feedforward: channels in the middle of its perceptrons.
        transformer_enc_layers: its layers.
        conv_dim: C.
        mask_dim: channels of the map that masks are computed from.
        norm: a name or callable for `get_norm`, after the convolutions of finer maps.
        transformer_in_features: names of the coarse maps.
        common_stride: of the map that masks are computed from, in pixels of the input.
        transformer_n_points: points of each head and map.

    Raises:
        ConfigError: if a map is missing, or there are fewer than three coarse ones.

    Source: Cheng 2022, arXiv:2112.01527, section 4.1; Zhu 2020, arXiv:2010.04159.
    """

    @configurable
    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        transformer_dropout: float,
        transformer_nheads: int,
        transformer_dim_feedforward: int,
        transformer_enc_layers: int,
        conv_dim: int,
        mask_dim: int,
        norm: Norm = None,
        transformer_in_features: Sequence[str],
        common_stride: int,
        transformer_n_points: int = 4,
    ) -> None:
        super().__init__()
        by_stride = sorted(input_shape, key=lambda name: input_shape[name].stride)
        missing = sorted(set(transformer_in_features) - set(by_stride))
        if missing or len(transformer_in_features) < NUM_LEVELS:
            raise ConfigError(
                f"The pixel decoder encodes {list(transformer_in_features)} "
                "(MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES) out of "
                f"{by_stride} (MODEL.SEM_SEG_HEAD.IN_FEATURES). Name {NUM_LEVELS} or more maps "
                "that are among the latter."
            )
        # Coarsest first, as published weights number them.
        self.coarse = [name for name in by_stride if name in transformer_in_features][::-1]
        self.input_proj = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(input_shape[name].channels, conv_dim, 1), nn.GroupNorm(32, conv_dim)
            )
            for name in self.coarse
        )
        for projection in self.input_proj:
            glorot_fill(projection[0])
        self.transformer = DeformableEncoder(
            conv_dim,
            len(self.coarse),
            transformer_enc_layers,
            hidden=transformer_dim_feedforward,
            dropout=transformer_dropout,
            heads=transformer_nheads,
            points=transformer_n_points,
        )
        self.transformer.reset_parameters()
        self.mask_dim = mask_dim
        self.mask_features = Conv2d(conv_dim, mask_dim, 1)
        xavier_fill(self.mask_features)
        finest = input_shape[self.coarse[-1]].stride
        count = int(math.log2(finest) - math.log2(common_stride))
        self.fine = by_stride[:count]
        for number, name in enumerate(self.fine, start=1):
            # None, the default, is neither a norm nor a bias.
            conv = partial(filled_conv, xavier_fill, norm=norm, has_bias=norm == "")
            lateral = conv(input_shape[name].channels, conv_dim, 1)
            output = conv(conv_dim, conv_dim, 3, activation=F.relu)
            self.add_module(f"adapter_{number}", lateral)
            self.add_module(f"layer_{number}", output)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Arguments from `MODEL.SEM_SEG_HEAD` and `MODEL.MASK_FORMER`."""
        node = cfg.MODEL.SEM_SEG_HEAD
        return {
            "input_shape": {k: v for k, v in input_shape.items() if k in node.IN_FEATURES},
            "transformer_dropout": cfg.MODEL.MASK_FORMER.DROPOUT,
            "transformer_nheads": node.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS,
            # DIM_FEEDFORWARD is that of the decoder of queries.
            "transformer_dim_feedforward": 1024,
            "transformer_enc_layers": node.TRANSFORMER_ENC_LAYERS,
            "conv_dim": node.CONVS_DIM,
            "mask_dim": node.MASK_DIM,
            "norm": node.NORM,
            "transformer_in_features": node.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES,
            "common_stride": node.COMMON_STRIDE,
            "transformer_n_points": node.DEFORMABLE_TRANSFORMER_ENCODER_N_POINTS,
        }

    def forward_features(self, features: dict[str, Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Compute the maps.

        Args:
            features: maps by name.

        Returns:
            (N, mask_dim, H, W) at the common stride, the coarsest encoded map, and the first
            three encoded maps or finer ones, (N, C, Hi, Wi), coarsest first.
        """
        # Half precision has not enough digits for places.
        with torch.autocast(features[self.coarse[0]].device.type, enabled=False):
            projected = [
                project(features[name].float())
                for name, project in zip(self.coarse, self.input_proj, strict=True)
            ]
            memory: Memory = self.transformer(projected)
        maps = memory.maps()
        for number in range(len(self.fine), 0, -1):
            lateral = self.get_submodule(f"adapter_{number}")(features[self.fine[number - 1]])
            enlarged = F.interpolate(
                maps[-1], size=lateral.shape[-2:], mode="bilinear", align_corners=False
            )
            maps.append(self.get_submodule(f"layer_{number}")(lateral + enlarged))
        return self.mask_features(maps[-1]), maps[0], maps[:NUM_LEVELS]
