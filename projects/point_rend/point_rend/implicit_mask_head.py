"""Implicit PointRend as a mask head: a small network of each box, which predicts at points.

R regions of all images, P points of each, K classes (1 if masks are the same for all).
"""

import math
from typing import Any

from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.layers import ShapeSpec
from d2lite.modeling.roi_heads import ROI_MASK_HEAD_REGISTRY
from d2lite.structures import Instances
from d2lite.utils.errors import ConfigError

from .coarse_head import ConvFCHead
from .mask_head import Features, PointRendMaskHead, draw_of, point_arguments, region_arguments
from .point_features import sample_point_labels
from .point_head import roi_mask_point_loss
from .point_maps import Regions, Subdivision


@ROI_MASK_HEAD_REGISTRY.register()
class ImplicitPointRendMaskHead(PointRendMaskHead):
    """The weights of a small network for each box, which predicts for any point if it is inside.

    Args:
        parameter_head: (R, C, region_side, region_side) -> (R, number of weights).
        regularizer: factor on the mean square of these weights, as a loss.
        **kwargs: see `PointRendMaskHead`.

    Source: Cheng 2021, arXiv:2104.06404, section 5.
    """

    @configurable
    def __init__(self, *, parameter_head: nn.Module, regularizer: float, **kwargs: Any) -> None:
        super().__init__(coarse_head=None, **kwargs)
        self.parameter_head = parameter_head
        self.regularizer = regularizer

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Arguments from `MODEL.ROI_MASK_HEAD`, `POINT_HEAD` and `IMPLICIT_POINTREND`."""
        points = cfg.MODEL.POINT_HEAD
        side = math.isqrt(points.SUBDIVISION_NUM_POINTS)
        if side**2 != points.SUBDIVISION_NUM_POINTS:
            raise ConfigError(
                f"MODEL.POINT_HEAD.SUBDIVISION_NUM_POINTS is {points.SUBDIVISION_NUM_POINTS}; "
                "implicit PointRend begins with a grid of as many points. Use a square number, "
                f"such as {side**2}."
            )
        of_regions, shape = region_arguments(cfg, input_shape)
        of_points = point_arguments(cfg, input_shape)
        num_params = of_points["point_head"].num_params
        return {
            **of_regions,
            **of_points,
            "parameter_head": ConvFCHead(cfg, shape, output_shape=(num_params,)),
            "regularizer": cfg.MODEL.IMPLICIT_POINTREND.PARAMS_L2_REGULARIZER,
            "subdivision": Subdivision(side, points.SUBDIVISION_STEPS, side**2),
        }

    def forward(
        self, features: Features, instances: list[Instances]
    ) -> dict[str, Tensor] | list[Instances]:
        """As `PointRendMaskHead.forward`; the losses are `loss_l2` and `loss_mask_point`."""
        name = "proposal_boxes" if self.training else "pred_boxes"
        boxes = [found.get(name) for found in instances]
        parameters = self._represent(self._roi_pooler(features, boxes))
        if not self.training:
            return self._subdivision_inference(features, parameters, instances)
        points, labels = self._uniform_sample_train_points(instances)
        logits = self._get_point_logits(features, boxes, points, parameters)
        square = parameters.square()
        penalty = square.mean() if len(square) else square.sum()
        return {
            "loss_l2": self.regularizer * penalty,
            "loss_mask_point": roi_mask_point_loss(logits, instances, labels),
        }

    def _represent(self, regions: Tensor) -> Tensor:
        """The (R, number of weights) of the networks."""
        parameters: Tensor = self.parameter_head(regions)
        return parameters

    def _uniform_sample_train_points(self, instances: list[Instances]) -> tuple[Tensor, Tensor]:
        """(R, P, 2) random points, and (R, P) their labels."""
        device = instances[0].proposal_boxes.device
        points = draw_of(instances, device)(self.train_num_points)
        return points, sample_point_labels(instances, points)

    def _get_point_logits(
        self, features: Features, boxes: Regions, points: Tensor, representation: Tensor
    ) -> Tensor:
        """(R, K, P) logits at (R, P, 2) points; the representation is the networks' weights."""
        fine = self.point_maps.sample(features, boxes, points)
        return self.point_head(fine, points, representation)
