"""Networks from images to feature maps; importing this registers them."""

from . import adapter
from .backbone import Backbone
from .build import BACKBONE_REGISTRY, build_backbone
from .feature_network import FeatureNetwork
from .fpn import (
    FPN,
    LastLevelMaxPool,
    LastLevelP6P7,
    build_fcos_resnet_fpn_backbone,
    build_resnet_fpn_backbone,
    build_retinanet_resnet_fpn_backbone,
)
from .mvit import MViT, build_mvit_backbone, build_mvit_fpn_backbone
from .regnet import RegNet, build_regnet_backbone, build_regnet_fpn_backbone
from .resnet import (
    BasicBlock,
    BasicStem,
    BottleneckBlock,
    DeformBottleneckBlock,
    ResNet,
    ResNetBlockBase,
    build_resnet_backbone,
    make_stage,
)
from .swin import SwinTransformer, build_swin_backbone, build_swin_fpn_backbone
from .timm_vit import TimmViT
from .vit import (
    SimpleFeaturePyramid,
    ViT,
    build_vit_backbone,
    build_vit_fpn_backbone,
    get_vit_lr_decay_rate,
)

__all__ = [
    "BACKBONE_REGISTRY",
    "FPN",
    "Backbone",
    "BasicBlock",
    "BasicStem",
    "BottleneckBlock",
    "DeformBottleneckBlock",
    "FeatureNetwork",
    "LastLevelMaxPool",
    "LastLevelP6P7",
    "MViT",
    "RegNet",
    "ResNet",
    "ResNetBlockBase",
    "SimpleFeaturePyramid",
    "SwinTransformer",
    "TimmViT",
    "ViT",
    "adapter",
    "build_backbone",
    "build_fcos_resnet_fpn_backbone",
    "build_mvit_backbone",
    "build_mvit_fpn_backbone",
    "build_regnet_backbone",
    "build_regnet_fpn_backbone",
    "build_resnet_backbone",
    "build_resnet_fpn_backbone",
    "build_retinanet_resnet_fpn_backbone",
    "build_swin_backbone",
    "build_swin_fpn_backbone",
    "build_vit_backbone",
    "build_vit_fpn_backbone",
    "get_vit_lr_decay_rate",
    "make_stage",
]
