"""RPN for rotated boxes.

N images, Ri anchors of level i, R their sum. Boxes are (centre, size, angle).
"""

from typing import Any

from torch import Tensor

from d2lite.config import CfgNode
from d2lite.layers import ShapeSpec
from d2lite.structures import pairwise_iou_rotated
from d2lite.utils.errors import ConfigError, ExportError

from ..box_regression import Box2BoxTransformRotated
from .build import PROPOSAL_GENERATOR_REGISTRY
from .proposal_utils import find_top_rpn_proposals
from .rpn import RPN

__all__ = ["RRPN", "find_top_rrpn_proposals"]


# Boxes of five numbers are rotated, so one function serves both kinds.
find_top_rrpn_proposals = find_top_rpn_proposals


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
        transform = Box2BoxTransformRotated.from_option(
            "MODEL.RPN.BBOX_REG_WEIGHTS", cfg.MODEL.RPN.BBOX_REG_WEIGHTS
        )
        return {**super().from_config(cfg, input_shape), "box2box_transform": transform}

    def _match_quality(self, gt_boxes: Any, anchors: Any) -> Tensor:
        return pairwise_iou_rotated(gt_boxes, anchors)

    def predict_padded(self, features: dict[str, Tensor], sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Refused: suppression of rotated boxes has no operator in the formats of exported files.

        Raises:
            ExportError: always.
        """
        raise ExportError("RRPN: rotated boxes have no fixed-size form.")
