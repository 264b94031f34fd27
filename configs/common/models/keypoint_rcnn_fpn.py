"""Keypoint R-CNN of ResNet-50 with an FPN: persons with 17 keypoints."""

from d2lite.config import LazyCall as L
from d2lite.modeling.roi_heads import KRCNNConvDeconvUpsampleHead

from .parts import ROI_LEVELS, box_heads, crop_shape, fpn_rpn, pooler, rcnn, resnet_fpn

model = rcnn(
    resnet_fpn(),
    fpn_rpn(),
    box_heads(
        keypoint_in_features=ROI_LEVELS,
        keypoint_pooler=pooler(14),
        keypoint_head=L(KRCNNConvDeconvUpsampleHead)(
            input_shape=crop_shape(14),
            num_keypoints=17,
            conv_dims=[512] * 8,
            loss_normalizer="visible",
        ),
    ),
)
model.roi_heads.num_classes = 1
# More proposals than usual: a class alone leaves fewer after NMS.
model.proposal_generator.post_nms_topk = (1500, 1000)
# Boxes of persons take the smooth L1 loss.
model.roi_heads.box_predictor.smooth_l1_beta = 0.5
