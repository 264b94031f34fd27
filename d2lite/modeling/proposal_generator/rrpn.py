"""RPN for rotated boxes.

N images, Ri anchors of level i, R their sum. Boxes are (centre, size, angle).
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from d2lite.config import CfgNode
from d2lite.layers import ShapeSpec, batched_nms_rotated
from d2lite.structures import Instances, RotatedBoxes, pairwise_iou_rotated
from d2lite.utils.errors import ConfigError

from ..box_regression import Box2BoxTransformRotated
from .build import PROPOSAL_GENERATOR_REGISTRY
from .proposal_utils import find_top_proposals
from .rpn import RPN

__all__ = ["RRPN", "find_top_rrpn_proposals"]


def find_top_rrpn_proposals(
    proposals: Sequence[Tensor],
    pred_objectness_logits: Sequence[Tensor],
    image_sizes: Sequence[tuple[int, int]],
    nms_thresh: float,
    pre_nms_topk: int,
    post_nms_topk: int,
    min_box_size: float,
    training: bool,
) -> list[Instances]:
    """`find_top_rpn_proposals` for rotated boxes, (N, Ri, 5) a level."""
    return find_top_proposals(
        proposals,
        pred_objectness_logits,
        image_sizes,
        nms=batched_nms_rotated,
        nms_thresh=nms_thresh,
        box_class=RotatedBoxes,
        pre_nms_topk=pre_nms_topk,
        post_nms_topk=post_nms_topk,
        min_box_size=min_box_size,
        training=training,
    )


@PROPOSAL_GENERATOR_REGISTRY.register()
class RRPN(RPN):
    """Region proposal network whose anchors and proposals are rotated boxes.

    Args:
        *args: those of `RPN`.
        **kwargs: those of `RPN`.

    Raises:
        ConfigError: for an anchor boundary, which is not defined for rotated boxes.

    Source: Ma 2017, arXiv:1703.01086.
    """

    _find_top = staticmethod(find_top_rrpn_proposals)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.anchor_boundary_thresh >= 0:
            raise ConfigError(
                f"MODEL.RPN.BOUNDARY_THRESH={self.anchor_boundary_thresh} has no meaning for "
                "rotated boxes. Set it to -1."
            )

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, object]:
        """Arguments as for `RPN`, with five weights in `MODEL.RPN.BBOX_REG_WEIGHTS`."""
        weights = cfg.MODEL.RPN.BBOX_REG_WEIGHTS
        if len(weights) != 5:
            raise ConfigError(
                f"MODEL.RPN.BBOX_REG_WEIGHTS={list(weights)}: RRPN needs five, for x, y, width, "
                "height and angle."
            )
        options = super().from_config(cfg, input_shape)
        return {**options, "box2box_transform": Box2BoxTransformRotated(weights=weights)}

    def _match_quality(self, gt_boxes: RotatedBoxes, anchors: RotatedBoxes) -> Tensor:
        return pairwise_iou_rotated(gt_boxes, anchors)
