"""ATSS: RetinaNet with one anchor a cell and objects' own thresholds; and losses with centerness.

N images, Ri cells of level i, R their sum, P cells that learn an object, C classes.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from d2lite.config import CfgNode
from d2lite.layers import cat, giou_loss
from d2lite.modeling import META_ARCH_REGISTRY
from d2lite.modeling.box_regression import Box2BoxTransform, Box2BoxTransformLinear
from d2lite.modeling.meta_arch.fcos import centerness_of
from d2lite.structures import Instances
from d2lite.utils.process_means import mean_over_processes, own_share

from .detector import FocalDetector, StatisticsDetector, level_shapes
from .head import DenseHead, head_arguments

# A sum of centerness that losses are divided by is at least this; the value of published code.
_LEAST_CENTERNESS = 1e-6


def centerness_losses(
    boxes: Tensor,
    gt_boxes: Tensor,
    logits: Tensor,
    centerness: Tensor,
    box_loss: Callable[[Tensor, Tensor], Tensor],
    normalizer: Tensor,
) -> dict[str, Tensor]:
    """The losses of boxes, each weighted by its centerness, and of centerness.

    Args:
        boxes: (P, 4) float xyxy, predicted.
        gt_boxes: (P, 4) of their objects.
        logits: (P,) of centerness, predicted.
        centerness: (P,) in [0, 1], true.
        box_loss: boxes and their objects -> (P,).
        normalizer: scalar that the loss of centerness is divided by.
    """
    total = mean_over_processes(centerness.sum()).clamp(min=_LEAST_CENTERNESS * own_share())
    entropy = F.binary_cross_entropy_with_logits(logits, centerness, reduction="sum")
    return {
        "loss_bbox": (box_loss(boxes, gt_boxes) * centerness).sum() / total,
        "loss_centerness": entropy / normalizer,
    }


@META_ARCH_REGISTRY.register()
class ATSS(FocalDetector, StatisticsDetector):
    """Class scores, deltas of one anchor and centerness of every cell.

    For the arguments see `FocalDetector` and `StatisticsDetector`.

    Source: Zhang 2019, arXiv:1912.02424.
    """

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL.DENSE` and `TEST.DETECTIONS_PER_IMAGE`."""
        node = cfg.MODEL.DENSE
        arguments = super().from_config(cfg)
        shapes = level_shapes(arguments["backbone"], node.IN_FEATURES)
        return {
            **arguments,
            "head": DenseHead(**head_arguments(cfg, shapes), box_size=4, centerness_tower="box"),
            "box2box_transform": Box2BoxTransform(weights=tuple(node.BBOX_REG_WEIGHTS)),
        }

    def forward_training(
        self,
        images: Any,
        features: list[Tensor],
        predictions: Sequence[list[Tensor]],
        gt_instances: list[Instances],
    ) -> dict[str, Tensor]:
        """`loss_cls`, `loss_bbox` and `loss_centerness`; arguments as in `DenseDetector`."""
        levels = self._transpose_dense_predictions(predictions, [self.num_classes, 4, 1])
        learners = self.find_learners(features, gt_instances)
        # An image without objects counts as one with one cell, as published.
        normalizer = mean_over_processes(learners.counts.clamp(min=1).sum())
        logits = cat(levels[0], dim=1).float()
        class_loss = self.class_losses(logits, learners.labels(logits, 1.0)).sum()
        distances = Box2BoxTransformLinear().get_deltas(learners.anchors, learners.boxes)
        losses = centerness_losses(
            self.decoded(learners, learners.of(levels[1])),
            learners.boxes,
            learners.of(levels[2]).squeeze(1),
            centerness_of(distances),
            giou_loss,
            normalizer,
        )
        losses["loss_bbox"] = losses["loss_bbox"] * self.box_weight
        return {"loss_cls": class_loss / normalizer, **losses}

    def _score_factors(self, predictions: Sequence[list[Tensor]]) -> list[Tensor]:
        return [x.flatten(1).sigmoid() for x in predictions[2]]
