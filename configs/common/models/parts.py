"""Functions that describe the parts of the models in this folder.

Each file of this folder calls them for its `model`; arguments that only some models need are
passed on by name.
"""

from d2lite.config import LazyCall as L
from d2lite.layers import ShapeSpec
from d2lite.modeling.anchor_generator import DefaultAnchorGenerator
from d2lite.modeling.backbone import FPN, BasicStem, ResNet
from d2lite.modeling.backbone.fpn import LastLevelMaxPool, LastLevelP6P7
from d2lite.modeling.box_regression import Box2BoxTransform
from d2lite.modeling.matcher import Matcher
from d2lite.modeling.meta_arch import GeneralizedRCNN
from d2lite.modeling.poolers import ROIPooler
from d2lite.modeling.proposal_generator import RPN, StandardRPNHead
from d2lite.modeling.roi_heads import (
    CascadeROIHeads,
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
    MaskRCNNConvUpsampleHead,
    StandardROIHeads,
)

from ..data.constants import constants

ASPECT_RATIOS = [0.5, 1.0, 2.0]
ROI_LEVELS = ["p2", "p3", "p4", "p5"]
WIDTH = 256


def pixels(order="BGR"):
    """How the images of a model are normalised."""
    name = f"imagenet_{order.lower()}256"
    return dict(pixel_mean=constants[f"{name}_mean"], pixel_std=constants[f"{name}_std"])


def resnet(depth=50, *, out_features, norm="FrozenBN"):
    """A ResNet whose bottlenecks have their stride in the first convolution."""
    return L(ResNet)(
        stem=L(BasicStem)(in_channels=3, out_channels=64, norm=norm),
        stages=L(ResNet.make_default_stages)(depth=depth, stride_in_1x1=True, norm=norm),
        out_features=out_features,
    )


def resnet_fpn():
    """Levels p2 to p6 of a ResNet."""
    return fpn(resnet(out_features=["res2", "res3", "res4", "res5"]))


def fpn(bottom_up, **options):
    """Levels p2 to p6, of which p6 is p5 at every second position."""
    return L(FPN)(
        bottom_up=bottom_up,
        in_features="${.bottom_up.out_features}",
        out_channels=WIDTH,
        top_block=L(LastLevelMaxPool)(),
        **options,
    )


def dense_fpn(**top_block):
    """Levels p3 to p7 of a ResNet, for detectors without proposals."""
    features = ["res3", "res4", "res5"]
    return L(FPN)(
        bottom_up=resnet(out_features=features),
        in_features=features,
        out_channels=WIDTH,
        top_block=L(LastLevelP6P7)(out_channels="${..out_channels}", **top_block),
    )


def anchors(sizes, strides, **options):
    """Anchors of three shapes."""
    return L(DefaultAnchorGenerator)(
        sizes=sizes, aspect_ratios=ASPECT_RATIOS, strides=strides, **options
    )


def match(*thresholds, labels, fills_gaps=False):
    """A matcher; `fills_gaps` gives every object its best candidates, however low their IoU."""
    return L(Matcher)(
        thresholds=list(thresholds), labels=labels, allow_low_quality_matches=fills_gaps
    )


def box_coding(*weights):
    """The code of boxes as differences."""
    return L(Box2BoxTransform)(weights=list(weights))


def rpn(features, anchor_generator, *, channels, num_anchors, before_nms, after_nms):
    """An RPN; the numbers of proposals are for training and for test."""
    return L(RPN)(
        in_features=features,
        head=L(StandardRPNHead)(in_channels=channels, num_anchors=num_anchors),
        anchor_generator=anchor_generator,
        anchor_matcher=match(0.3, 0.7, labels=[0, -1, 1], fills_gaps=True),
        box2box_transform=box_coding(1.0, 1.0, 1.0, 1.0),
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_topk=before_nms,
        post_nms_topk=after_nms,
        nms_thresh=0.7,
    )


def fpn_rpn():
    """The RPN on levels p2 to p6, with one size of anchors a level."""
    return rpn(
        [*ROI_LEVELS, "p6"],
        anchors([[32], [64], [128], [256], [512]], [4, 8, 16, 32, 64], offset=0.0),
        channels=WIDTH,
        num_anchors=3,
        before_nms=(2000, 1000),
        after_nms=(1000, 1000),
    )


def pooler(size, scales=(1 / 4, 1 / 8, 1 / 16, 1 / 32)):
    """Crops of `size` x `size` cells."""
    return L(ROIPooler)(
        output_size=size, scales=list(scales), sampling_ratio=0, pooler_type="ROIAlignV2"
    )


def crop_shape(size):
    """What a head is given of an FPN's levels."""
    return ShapeSpec(channels=WIDTH, height=size, width=size)


def box_head(*, convs=0, fcs=2, **options):
    """Convolutions, then fully connected layers."""
    return L(FastRCNNConvFCHead)(
        input_shape=crop_shape(7), conv_dims=[WIDTH] * convs, fc_dims=[1024] * fcs, **options
    )


def box_predictor(input_shape, coding=(10, 10, 5, 5), *, num_classes="${..num_classes}", **options):
    """Scores and boxes of the last layers."""
    return L(FastRCNNOutputLayers)(
        input_shape=input_shape,
        test_score_thresh=0.05,
        box2box_transform=box_coding(*coding),
        num_classes=num_classes,
        **options,
    )


def mask_head(input_shape, convs, **options):
    """Convolutions, the last of which follows an upsampling."""
    return L(MaskRCNNConvUpsampleHead)(
        input_shape=input_shape,
        num_classes="${..num_classes}",
        conv_dims=[WIDTH] * convs,
        **options,
    )


def box_heads(**options):
    """The heads of Faster R-CNN on an FPN."""
    return L(StandardROIHeads)(
        num_classes=80,
        batch_size_per_image=512,
        positive_fraction=0.25,
        proposal_matcher=match(0.5, labels=[0, 1]),
        box_in_features=ROI_LEVELS,
        box_pooler=pooler(7),
        box_head=box_head(),
        box_predictor=box_predictor(ShapeSpec(channels=1024)),
        **options,
    )


def mask_heads():
    """The heads of Mask R-CNN on an FPN."""
    return box_heads(
        mask_in_features=ROI_LEVELS,
        mask_pooler=pooler(14),
        mask_head=mask_head(crop_shape(14), 5),
    )


def rcnn(backbone, proposal_generator, roi_heads):
    """A detector in two steps, for images as OpenCV reads them."""
    return L(GeneralizedRCNN)(
        backbone=backbone,
        proposal_generator=proposal_generator,
        roi_heads=roi_heads,
        **pixels("BGR"),
        input_format="BGR",
    )


def mask_rcnn_fpn():
    """Mask R-CNN of ResNet-50 with an FPN."""
    return rcnn(resnet_fpn(), fpn_rpn(), mask_heads())


def make_cascade(model, **head):
    """Put the three stages of Cascade R-CNN in the place of the box head of `model`.

    Args:
        model: changed in place.
        head: arguments of `box_head`.
    """
    heads = model.roi_heads
    for replaced in ("box_head", "box_predictor", "proposal_matcher"):
        heads.pop(replaced)
    heads._target_ = CascadeROIHeads
    heads.box_heads = [box_head(**head) for _ in range(3)]
    heads.box_predictors = [
        box_predictor(
            ShapeSpec(channels=1024),
            (10 * stage, 10 * stage, 5 * stage, 5 * stage),
            num_classes="${...num_classes}",
            cls_agnostic_bbox_reg=True,
        )
        for stage in (1, 2, 3)
    ]
    heads.proposal_matchers = [match(iou, labels=[0, 1]) for iou in (0.5, 0.6, 0.7)]
    return model
