"""VFNet: scores that are the IoU of a box which is refined once.

N images, Ri cells of level i, P cells that learn an object, C classes.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from d2lite.config import CfgNode, configurable
from d2lite.layers import cat, giou_loss, varifocal_loss
from d2lite.modeling import META_ARCH_REGISTRY
from d2lite.structures import Boxes, Instances
from d2lite.structures.boxes import matched_pairwise_iou
from d2lite.utils.process_means import mean_over_processes, own_share

from .detector import StatisticsDetector, level_shapes
from .head import head_arguments
from .vfnet_head import VFNetHead

# First distances begin at so many strides: the far limit of the objects of a level in FCOS.
_REACH_IN_STRIDES = 8.0
# An IoU as a label is at least this, so that a cell of an object is not background.
_LEAST_IOU = 1e-6


@META_ARCH_REGISTRY.register()
class VFNet(StatisticsDetector):
    """Class scores, and distances to the four sides that are refined, of every cell.

    Args:
        first_box_weight: of the loss of boxes before their refinement.
        varifocal_alpha: see `varifocal_loss`.
        varifocal_gamma: likewise.
        **others: see `StatisticsDetector`.

    Source: Zhang 2020, arXiv:2008.13367.
    """

    @configurable
    def __init__(
        self,
        *,
        first_box_weight: float = 1.5,
        varifocal_alpha: float = 0.75,
        varifocal_gamma: float = 2.0,
        **others: Any,
    ) -> None:
        super().__init__(**others)
        self.first_box_weight = first_box_weight
        self.varifocal_alpha = varifocal_alpha
        self.varifocal_gamma = varifocal_gamma

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL.DENSE` and `TEST.DETECTIONS_PER_IMAGE`."""
        node = cfg.MODEL.DENSE
        arguments = super().from_config(cfg)
        shapes = level_shapes(arguments["backbone"], node.IN_FEATURES)
        reach = [_REACH_IN_STRIDES * shape.stride for shape in shapes]
        return {
            **arguments,
            "head": VFNetHead(**head_arguments(cfg, shapes), reach=reach),
            "first_box_weight": node.FIRST_BOX_WEIGHT,
            "varifocal_alpha": node.VARIFOCAL_ALPHA,
            "varifocal_gamma": node.VARIFOCAL_GAMMA,
        }

    def forward_training(
        self,
        images: Any,
        features: list[Tensor],
        predictions: Sequence[list[Tensor]],
        gt_instances: list[Instances],
    ) -> dict[str, Tensor]:
        """`loss_cls`, `loss_bbox` (of first boxes) and `loss_bbox_refine`."""
        levels = self._transpose_dense_predictions(predictions, [self.num_classes, 4, 4])
        learners = self.find_learners(features, gt_instances)
        normalizer = mean_over_processes(learners.counts.sum()).clamp(min=own_share())
        logits = cat(levels[0], dim=1).float()
        refined_loss, refined_ious = self._box_loss(learners, levels[1])
        first_loss, _ = self._box_loss(learners, levels[2])
        class_loss = varifocal_loss(
            logits,
            learners.labels(logits, refined_ious),
            alpha=self.varifocal_alpha,
            gamma=self.varifocal_gamma,
            reduction="sum",
        )
        return {
            "loss_cls": class_loss / normalizer,
            "loss_bbox": self.first_box_weight * first_loss,
            "loss_bbox_refine": self.box_weight * refined_loss,
        }

    def _box_loss(self, learners: Any, distances: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The mean loss of boxes, weighted by their IoU, and (P,) these."""
        boxes = self.decoded(learners, learners.of(distances))
        ious = matched_pairwise_iou(Boxes(boxes.detach()), Boxes(learners.boxes))
        ious = ious.clamp(min=_LEAST_IOU)
        total = mean_over_processes(ious.sum()).clamp(min=own_share())
        return (giou_loss(boxes, learners.boxes) * ious).sum() / total, ious
