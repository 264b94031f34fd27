"""Layers: small modules and tensor functions that know nothing of detection's data structures."""

from .aspp import ASPP
from .attention import (
    ChannelAndSpatialAttention,
    EfficientChannelAttention,
    GlobalContext,
    NonLocal,
)
from .batch_norm import (
    CycleBatchNormList,
    FrozenBatchNorm2d,
    LayerNorm,
    NaiveSyncBatchNorm,
    WeightStandardNorm,
    get_norm,
)
from .blocks import CNNBlockBase, ConvStep, DepthwiseSeparableConv2d
from .box_fusion import FusedBoxes, weighted_box_fusion
from .cosine import CosineConv2d, CosineLinear
from .deform_conv import DeformConv, ModulatedDeformConv
from .drop_block import DropBlock
from .fast_nms import fast_nms
from .gradient_harmony import HarmonizedBoxLoss, HarmonizedClassLoss
from .losses import (
    balanced_l1_loss,
    bounded_iou_loss,
    ciou_loss,
    diou_loss,
    eiou_loss,
    giou_loss,
    iou_loss,
    rotated_iou_loss,
    smooth_l1_loss,
)
from .mask_ops import paste_masks_in_image
from .nms import batched_nms, batched_nms_rotated, nms, nms_rotated
from .receptive_field import PoolPyramid, ReceptiveFieldBlock
from .roi_align import ROIAlign, roi_align
from .roi_align_rotated import ROIAlignRotated, roi_align_rotated
from .rotated_boxes import pairwise_iou_rotated
from .score_losses import (
    distribution_focal_loss,
    heatmap_focal_loss,
    quality_focal_loss,
    sigmoid_focal_loss,
    varifocal_loss,
)
from .shape_spec import ShapeSpec
from .soft_nms import SoftNMS, soft_nms
from .sync_batch_norm import sync_on_cpu_
from .wrappers import (
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    Linear,
    MaxPool2d,
    cat,
    cross_entropy,
    empty_input_loss_func_wrapper,
    interpolate,
    move_device_like,
    nonzero_tuple,
    shapes_to_tensor,
)

__all__ = [
    "ASPP",
    "BatchNorm2d",
    "CNNBlockBase",
    "ChannelAndSpatialAttention",
    "Conv2d",
    "ConvStep",
    "ConvTranspose2d",
    "CosineConv2d",
    "CosineLinear",
    "CycleBatchNormList",
    "DeformConv",
    "DepthwiseSeparableConv2d",
    "DropBlock",
    "EfficientChannelAttention",
    "FrozenBatchNorm2d",
    "FusedBoxes",
    "GlobalContext",
    "HarmonizedBoxLoss",
    "HarmonizedClassLoss",
    "LayerNorm",
    "Linear",
    "MaxPool2d",
    "ModulatedDeformConv",
    "NaiveSyncBatchNorm",
    "NonLocal",
    "PoolPyramid",
    "ROIAlign",
    "ROIAlignRotated",
    "ReceptiveFieldBlock",
    "ShapeSpec",
    "SoftNMS",
    "WeightStandardNorm",
    "balanced_l1_loss",
    "batched_nms",
    "batched_nms_rotated",
    "bounded_iou_loss",
    "cat",
    "ciou_loss",
    "cross_entropy",
    "diou_loss",
    "distribution_focal_loss",
    "eiou_loss",
    "empty_input_loss_func_wrapper",
    "fast_nms",
    "get_norm",
    "giou_loss",
    "heatmap_focal_loss",
    "interpolate",
    "iou_loss",
    "move_device_like",
    "nms",
    "nms_rotated",
    "nonzero_tuple",
    "pairwise_iou_rotated",
    "paste_masks_in_image",
    "quality_focal_loss",
    "roi_align",
    "roi_align_rotated",
    "rotated_iou_loss",
    "shapes_to_tensor",
    "sigmoid_focal_loss",
    "smooth_l1_loss",
    "soft_nms",
    "sync_on_cpu_",
    "varifocal_loss",
    "weighted_box_fusion",
]
