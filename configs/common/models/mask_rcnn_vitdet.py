"""Mask R-CNN of a plain vision transformer (ViTDet, arXiv:2203.16527), base size."""

from functools import partial

from torch import nn

from d2lite.config import LazyCall as L
from d2lite.modeling.backbone.fpn import LastLevelMaxPool
from d2lite.modeling.backbone.vit import SimpleFeaturePyramid, ViT

from ..data.constants import constants
from .parts import WIDTH, box_head, mask_rcnn_fpn, pixels

__all__ = ["constants", "model"]

_IMAGE_SIZE = 1024

model = mask_rcnn_fpn()
model.backbone = L(SimpleFeaturePyramid)(
    net=L(ViT)(
        img_size=_IMAGE_SIZE,
        patch_size=16,
        embed_dim=768,
        depth=12,
        num_heads=12,
        drop_path_rate=0.1,
        window_size=14,
        mlp_ratio=4,
        qkv_bias=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        # The last block of each quarter sees the whole image.
        window_block_indexes=[block for block in range(12) if block % 3 != 2],
        residual_block_indexes=[],
        use_rel_pos=True,
        out_feature="last_feat",
    ),
    in_feature="${.net.out_feature}",
    out_channels=WIDTH,
    scale_factors=(4.0, 2.0, 1.0, 0.5),
    top_block=L(LastLevelMaxPool)(),
    norm="LN",
    square_pad=_IMAGE_SIZE,
)
model.proposal_generator.head.conv_dims = [-1, -1]
model.roi_heads.box_head = box_head(convs=4, fcs=1, conv_norm="LN")
model.roi_heads.mask_head.conv_norm = "LN"
model.update(pixels("RGB"), input_format="RGB")
