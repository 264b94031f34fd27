"""The layers of FCOS: the two towers of RetinaNet, and how central each cell is in its object.

N images, C classes, Hi x Wi cells of level i.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.layers import ShapeSpec

from ..weight_init import normal_fill
from .retinanet_head import RetinaNetHead


class FCOSHead(RetinaNetHead):
    """The head of RetinaNet for one prediction a cell, and how central the cell is.

    Args:
        input_shape: of each level.
        conv_dims: output channels of the convolutions of each tower.
        **kwargs: `num_classes`, `norm` and `prior_prob`; see `RetinaNetHead`.
    """

    @configurable
    def __init__(
        self, *, input_shape: list[ShapeSpec], conv_dims: Sequence[int], **kwargs: Any
    ) -> None:
        super().__init__(input_shape=input_shape, conv_dims=conv_dims, num_anchors=1, **kwargs)
        # DIFFERS from the paper, as the reference does: no learned scale a level, since distances
        # are in units of the stride.
        self.ctrness = nn.Conv2d(self.bbox_pred.in_channels, 1, 3, padding=1)
        normal_fill(self.ctrness, std=0.01)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: list[ShapeSpec]) -> dict[str, Any]:
        """Arguments from `MODEL.FCOS`."""
        node = cfg.MODEL.FCOS
        return {
            "input_shape": input_shape,
            "conv_dims": [input_shape[0].channels] * node.NUM_CONVS,
            "num_classes": node.NUM_CLASSES,
            "norm": node.NORM,
            "prior_prob": node.PRIOR_PROB,
        }

    def forward(  # type: ignore[override]
        self, features: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Predict.

        Args:
            features: one (N, channels, Hi, Wi) a level, of all levels.

        Returns:
            one (N, C, Hi, Wi) of class logits a level; one (N, 4, Hi, Wi) of distances; one
            (N, 1, Hi, Wi) of centerness logits.

        Raises:
            ArgumentError: if the number of levels is not that of `input_shape`.
        """
        self._begin(features)
        about_classes = map(self.cls_subnet, features)
        about_boxes = [self.bbox_subnet(feature) for feature in features]
        # Centerness shares the tower of the box, whose geometry it follows.
        return (
            [self.cls_score(x) for x in about_classes],
            [self.bbox_pred(x) for x in about_boxes],
            [self.ctrness(x) for x in about_boxes],
        )
