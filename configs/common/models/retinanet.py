"""RetinaNet of ResNet-50."""

from d2lite.config import LazyCall as L
from d2lite.layers import ShapeSpec
from d2lite.modeling.meta_arch import RetinaNet
from d2lite.modeling.meta_arch.retinanet import RetinaNetHead

from ..data.constants import constants
from .parts import WIDTH, anchors, box_coding, dense_fpn, match, pixels

__all__ = ["constants", "model"]

_strides = [8, 16, 32, 64, 128]

model = L(RetinaNet)(
    # p6 is made of res5.
    backbone=dense_fpn(in_channels=2048),
    head=L(RetinaNetHead)(
        input_shape=[ShapeSpec(channels=WIDTH)] * len(_strides),
        num_classes="${..num_classes}",
        conv_dims=[WIDTH] * 4,
        prior_prob=0.01,
        num_anchors=9,
    ),
    anchor_generator=anchors(
        [[4 * stride * 2 ** (third / 3) for third in range(3)] for stride in _strides],
        _strides,
        offset=0.0,
    ),
    box2box_transform=box_coding(1.0, 1.0, 1.0, 1.0),
    anchor_matcher=match(0.4, 0.5, labels=[0, -1, 1], fills_gaps=True),
    num_classes=80,
    head_in_features=["p3", "p4", "p5", "p6", "p7"],
    focal_loss_alpha=0.25,
    focal_loss_gamma=2.0,
    **pixels("BGR"),
    input_format="BGR",
)
