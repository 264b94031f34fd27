"""MaskFormerHead: the pixel decoder and the decoder of queries, one after the other."""

from typing import Any

from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.layers import ShapeSpec
from d2lite.modeling.meta_arch.semantic_seg import SEM_SEG_HEADS_REGISTRY
from d2lite.utils.errors import ConfigError

from .masked_decoder import build_transformer_decoder
from .pixel_decoder import build_pixel_decoder


@SEM_SEG_HEADS_REGISTRY.register()
class MaskFormerHead(nn.Module):
    """Feature maps -> classes and masks of queries.

    Args:
        pixel_decoder: with `forward_features`, see `MSDeformAttnPixelDecoder`.
        transformer_predictor: see `MultiScaleMaskedTransformerDecoder`.
    """

    @configurable
    def __init__(self, *, pixel_decoder: nn.Module, transformer_predictor: nn.Module) -> None:
        super().__init__()
        self.pixel_decoder = pixel_decoder
        self.predictor = transformer_predictor

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Arguments from `MODEL.SEM_SEG_HEAD` and `MODEL.MASK_FORMER`."""
        source = cfg.MODEL.MASK_FORMER.TRANSFORMER_IN_FEATURE
        if source != "multi_scale_pixel_decoder":
            raise ConfigError(
                f"MODEL.MASK_FORMER.TRANSFORMER_IN_FEATURE is {source!r}, which is of MaskFormer "
                "of 2021; Mask2Former has multi_scale_pixel_decoder, as all its published files."
            )
        return {
            "pixel_decoder": build_pixel_decoder(cfg, input_shape),
            "transformer_predictor": build_transformer_decoder(
                cfg, cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM
            ),
        }

    def forward(self, features: dict[str, Tensor]) -> dict[str, Any]:
        """Maps by name -> what `MultiScaleMaskedTransformerDecoder` returns."""
        mask_features, _, maps = self.pixel_decoder.forward_features(features)
        return self.predictor(maps, mask_features)
