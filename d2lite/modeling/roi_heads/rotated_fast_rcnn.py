"""RROIHeads: classes and better boxes of rotated proposals.

R regions of one image, K classes. Boxes are (centre, size, degrees).
"""

from functools import partial
from typing import Any

from d2lite.config import CfgNode, configurable
from d2lite.layers import ShapeSpec
from d2lite.structures import RotatedBoxes
from d2lite.utils.errors import ConfigError

from ..box_regression import Box2BoxTransformRotated
from .build import ROI_HEADS_REGISTRY
from .fast_rcnn import FastRCNNOutputLayers
from .fast_rcnn_inference import fast_rcnn_inference, fast_rcnn_inference_single_image
from .standard import StandardROIHeads

__all__ = [
    "RROIHeads",
    "RotatedFastRCNNOutputLayers",
    "fast_rcnn_inference_rotated",
    "fast_rcnn_inference_single_image_rotated",
]


fast_rcnn_inference_rotated = partial(fast_rcnn_inference, box_class=RotatedBoxes)
fast_rcnn_inference_single_image_rotated = partial(
    fast_rcnn_inference_single_image, box_class=RotatedBoxes
)


class RotatedFastRCNNOutputLayers(FastRCNNOutputLayers):
    """`FastRCNNOutputLayers` with five deltas a box; see there for the arguments."""

    _box_class = RotatedBoxes

    @configurable
    def __init__(self, input_shape: ShapeSpec, **kwargs: Any) -> None:
        super().__init__(input_shape, **kwargs)
        if self.box_reg_loss_type not in ("smooth_l1", "balanced_l1", "rotated_iou"):
            raise ConfigError(
                f"MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE={self.box_reg_loss_type!r} is of upright "
                'boxes. Rotated ones have "smooth_l1", "balanced_l1" and "rotated_iou".'
            )

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Arguments as for `FastRCNNOutputLayers`, with five weights of deltas."""
        transform = Box2BoxTransformRotated.from_option(
            "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", cfg.MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS
        )
        return {**super().from_config(cfg, input_shape), "box2box_transform": transform}


@ROI_HEADS_REGISTRY.register()
class RROIHeads(StandardROIHeads):
    """`StandardROIHeads` for rotated proposals, with only a box branch.

    Ground truth (`gt_boxes`) and proposals are `RotatedBoxes`; IoU, pooling and NMS are theirs.

    Args:
        **kwargs: those of `StandardROIHeads`.

    Raises:
        ConfigError: for masks, keypoints or training on predicted boxes.
    """

    _predictor = RotatedFastRCNNOutputLayers

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
                f"RROIHeads has only boxes; set {' and '.join(switched_on)} to False."
            )

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        node = cfg.MODEL.ROI_BOX_HEAD
        if node.POOLER_TYPE != "ROIAlignRotated":
            raise ConfigError(
                f"MODEL.ROI_BOX_HEAD.POOLER_TYPE={node.POOLER_TYPE!r} pools upright boxes; "
                "RROIHeads needs ROIAlignRotated."
            )
        return super()._init_box_head(cfg, input_shape)
