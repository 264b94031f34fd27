"""Mask R-CNN of ResNet-50 without a pyramid: its last stage is the head."""

from d2lite.config import LazyCall as L
from d2lite.layers import ShapeSpec
from d2lite.modeling.backbone import BottleneckBlock, ResNet
from d2lite.modeling.roi_heads import Res5ROIHeads

from ..data.constants import constants
from .parts import anchors, box_predictor, mask_head, match, pooler, rcnn, resnet, rpn

__all__ = ["constants", "model"]

_res4 = ["res4"]
_crop = "${...pooler.output_size}"
_width = "${...res5.out_channels}"

model = rcnn(
    resnet(out_features=_res4),
    rpn(
        _res4,
        anchors([[32, 64, 128, 256, 512]], [16], offset=0.0),
        channels=1024,
        num_anchors=15,
        before_nms=(12000, 6000),
        after_nms=(2000, 1000),
    ),
    L(Res5ROIHeads)(
        num_classes=80,
        batch_size_per_image=512,
        positive_fraction=0.25,
        proposal_matcher=match(0.5, labels=[0, 1]),
        in_features=_res4,
        pooler=pooler(14, [1 / 16]),
        res5=L(ResNet.make_stage)(
            block_class=BottleneckBlock,
            num_blocks=3,
            stride_per_block=[2, 1, 1],
            in_channels=1024,
            bottleneck_channels=512,
            out_channels=2048,
            norm="FrozenBN",
            stride_in_1x1=True,
        ),
        box_predictor=box_predictor(L(ShapeSpec)(channels=_width, height=1, width=1)),
        mask_head=mask_head(L(ShapeSpec)(channels=_width, width=_crop, height=_crop), 1),
    ),
)
