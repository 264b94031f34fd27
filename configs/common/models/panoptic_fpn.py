"""Panoptic FPN of ResNet-50: Mask R-CNN and a semantic head on the same levels."""

from d2lite.config import LazyCall as L
from d2lite.layers import ShapeSpec
from d2lite.modeling.meta_arch import PanopticFPN, SemSegFPNHead

from .parts import mask_rcnn_fpn

model = mask_rcnn_fpn()
model._target_ = PanopticFPN
model.sem_seg_head = L(SemSegFPNHead)(
    input_shape={
        f"p{level}": L(ShapeSpec)(stride=2**level, channels="${....backbone.out_channels}")
        for level in (2, 3, 4, 5)
    },
    ignore_value=255,
    # COCO's 53 kinds of stuff, and all things together.
    num_classes=54,
    conv_dims=128,
    common_stride=4,
    loss_weight=0.5,
    norm="GN",
)
