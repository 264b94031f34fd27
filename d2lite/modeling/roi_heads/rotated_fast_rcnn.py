"""RROIHeads: classes and better boxes of rotated proposals.

R regions of one image, K classes. Boxes are (centre, size, degrees).
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from d2lite.config import CfgNode, configurable
from d2lite.layers import ShapeSpec, batched_nms_rotated
from d2lite.structures import Instances, RotatedBoxes
from d2lite.utils.errors import ConfigError

from ..box_regression import Box2BoxTransformRotated
from .build import ROI_HEADS_REGISTRY, build_box_head
from .fast_rcnn import FastRCNNOutputLayers, Predictions
from .fast_rcnn_inference import choose_detections, in_each_image
from .standard import StandardROIHeads, build_pooler

__all__ = [
    "RROIHeads",
    "RotatedFastRCNNOutputLayers",
    "fast_rcnn_inference_rotated",
    "fast_rcnn_inference_single_image_rotated",
]


def fast_rcnn_inference_rotated(
    boxes: Sequence[Tensor],
    scores: Sequence[Tensor],
    image_shapes: Sequence[tuple[int, int]],
    score_thresh: float,
    nms_thresh: float,
    topk_per_image: int,
) -> tuple[list[Instances], list[Tensor]]:
    """`fast_rcnn_inference` for rotated boxes: (R, K * 5) or (R, 5) of each image.

    Boxes that are nearly upright are clipped, the others are left as they are.
    """
    limits = score_thresh, nms_thresh, topk_per_image
    return in_each_image(
        fast_rcnn_inference_single_image_rotated, boxes, scores, image_shapes, limits
    )


def fast_rcnn_inference_single_image_rotated(
    boxes: Tensor,
    scores: Tensor,
    image_shape: tuple[int, int],
    score_thresh: float,
    nms_thresh: float,
    topk_per_image: int,
) -> tuple[Instances, Tensor]:
    """`fast_rcnn_inference_rotated` for one image."""
    return choose_detections(
        boxes,
        scores,
        image_shape,
        score_thresh=score_thresh,
        nms_thresh=nms_thresh,
        topk=topk_per_image,
        box_class=RotatedBoxes,
        nms=batched_nms_rotated,
    )


class RotatedFastRCNNOutputLayers(FastRCNNOutputLayers):
    """`FastRCNNOutputLayers` with five deltas a box; see there for the arguments."""

    @configurable
    def __init__(self, input_shape: ShapeSpec, **kwargs: Any) -> None:
        super().__init__(input_shape, **kwargs)
        if self.box_reg_loss_type != "smooth_l1":
            raise ConfigError(
                f"MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE={self.box_reg_loss_type!r} is of upright "
                'boxes. Rotated ones have "smooth_l1".'
            )

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Arguments as for `FastRCNNOutputLayers`, with five weights of deltas."""
        weights = cfg.MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS
        if len(weights) != 5:
            raise ConfigError(
                f"MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS={list(weights)}: rotated boxes need five, "
                "for x, y, width, height and angle, such as [10, 10, 5, 5, 1]."
            )
        options = super().from_config(cfg, input_shape)
        return {**options, "box2box_transform": Box2BoxTransformRotated(weights=weights)}

    def inference(
        self, predictions: Predictions, proposals: Sequence[Instances]
    ) -> tuple[list[Instances], list[Tensor]]:
        """Detections of each image, and the proposal that each comes from."""
        return fast_rcnn_inference_rotated(
            self.predict_boxes(predictions, proposals),
            self.predict_probs(predictions, proposals),
            [found.image_size for found in proposals],
            self.test_score_thresh,
            self.test_nms_thresh,
            self.test_topk_per_image,
        )


@ROI_HEADS_REGISTRY.register()
class RROIHeads(StandardROIHeads):
    """`StandardROIHeads` for rotated proposals, with a box branch alone.

    Ground truth (`gt_boxes`) and proposals are `RotatedBoxes`; IoU, pooling and NMS are theirs.

    Args:
        **kwargs: those of `StandardROIHeads`.

    Raises:
        ConfigError: for masks, keypoints or training on predicted boxes.
    """

    @configurable
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        refused = {
            "MODEL.MASK_ON": self.mask_on,
            "MODEL.KEYPOINT_ON": self.keypoint_on,
            "MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES": self.train_on_pred_boxes,
        }
        switched_on = [key for key, is_on in refused.items() if is_on]
        if switched_on:
            raise ConfigError(
                f"RROIHeads has boxes alone; set {' and '.join(switched_on)} to False."
            )

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        node = cfg.MODEL.ROI_BOX_HEAD
        if node.POOLER_TYPE != "ROIAlignRotated":
            raise ConfigError(
                f"MODEL.ROI_BOX_HEAD.POOLER_TYPE={node.POOLER_TYPE!r} pools upright boxes; "
                "RROIHeads needs ROIAlignRotated."
            )
        names, pooler, shape = build_pooler(cfg, node, input_shape)
        head = build_box_head(cfg, shape)
        return {
            "box_in_features": names,
            "box_pooler": pooler,
            "box_head": head,
            "box_predictor": RotatedFastRCNNOutputLayers(cfg, head.output_shape),
        }
