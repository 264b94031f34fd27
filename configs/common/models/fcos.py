"""FCOS of ResNet-50."""

from d2lite.config import LazyCall as L
from d2lite.layers import ShapeSpec
from d2lite.modeling.meta_arch.fcos import FCOS, FCOSHead

from .parts import WIDTH, dense_fpn, pixels

model = L(FCOS)(
    # p6 is made of p5.
    backbone=dense_fpn(in_channels=WIDTH, in_feature="p5"),
    head=L(FCOSHead)(
        input_shape=[ShapeSpec(channels=WIDTH)] * 5,
        num_classes="${..num_classes}",
        conv_dims=[WIDTH] * 4,
        prior_prob=0.01,
        norm="GN",
    ),
    num_classes=80,
    head_in_features=["p3", "p4", "p5", "p6", "p7"],
    focal_loss_alpha=0.25,
    focal_loss_gamma=2.0,
    test_score_thresh=0.2,
    test_nms_thresh=0.6,
    **pixels("BGR"),
)
