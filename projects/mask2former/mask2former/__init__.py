"""Mask2Former (Cheng et al., CVPR 2022): every kind of segmentation by queries with masks."""

from .config import add_maskformer2_config
from .criterion import SetCriterion
from .dataset_mappers import (
    COCOInstanceNewBaselineDatasetMapper,
    COCOPanopticNewBaselineDatasetMapper,
    MaskFormerInstanceDatasetMapper,
    MaskFormerPanopticDatasetMapper,
    MaskFormerSemanticDatasetMapper,
    build_train_mapper,
)
from .head import MaskFormerHead
from .masked_decoder import (
    TRANSFORMER_DECODER_REGISTRY,
    MultiScaleMaskedTransformerDecoder,
    build_transformer_decoder,
)
from .matcher import HungarianMatcher
from .meta_arch import MaskFormer
from .optimizer import build_train_optimizer
from .pixel_decoder import MSDeformAttnPixelDecoder, build_pixel_decoder
from .swin import D2SwinTransformer

__all__ = [
    "TRANSFORMER_DECODER_REGISTRY",
    "COCOInstanceNewBaselineDatasetMapper",
    "COCOPanopticNewBaselineDatasetMapper",
    "D2SwinTransformer",
    "HungarianMatcher",
    "MSDeformAttnPixelDecoder",
    "MaskFormer",
    "MaskFormerHead",
    "MaskFormerInstanceDatasetMapper",
    "MaskFormerPanopticDatasetMapper",
    "MaskFormerSemanticDatasetMapper",
    "MultiScaleMaskedTransformerDecoder",
    "SetCriterion",
    "add_maskformer2_config",
    "build_pixel_decoder",
    "build_train_mapper",
    "build_train_optimizer",
    "build_transformer_decoder",
]
