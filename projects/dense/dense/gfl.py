"""GFL: a score that is the quality of its box, and sides of boxes as distributions.

N images, Ri cells of level i, P cells that learn an object, C classes, B the largest distance.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from d2lite.config import CfgNode, configurable
from d2lite.layers import cat, distribution_focal_loss, giou_loss, quality_focal_loss
from d2lite.modeling import META_ARCH_REGISTRY
from d2lite.structures import Boxes, Instances
from d2lite.structures.boxes import matched_pairwise_iou
from d2lite.utils.process_means import mean_over_processes, own_share

from .detector import StatisticsDetector, level_shapes
from .head import DenseHead, head_arguments

# True distances are less than B by at least this; the value of published code.
_BELOW_LAST = 0.1


def expected_distances(logits: Tensor) -> Tensor:
    """(..., 4 * (B + 1)) logits of distributions over 0 ... B -> (..., 4) float32 means."""
    chances = logits.float().unflatten(-1, (4, -1)).softmax(dim=-1)
    values = torch.arange(chances.shape[-1], device=logits.device, dtype=chances.dtype)
    # A column: OpenVINO loses the axis of a product with a vector that is multiplied afterwards.
    return torch.matmul(chances, values[:, None])[..., 0]


@META_ARCH_REGISTRY.register()
class GFL(StatisticsDetector):
    """Class scores, and distributions of the distances to the four sides, of every cell.

    Args:
        max_distance: B, in strides.
        distribution_weight: of the loss of distributions.
        **others: see `StatisticsDetector`.

    Source: Li 2020, arXiv:2006.04388.
    """

    @configurable
    def __init__(
        self, *, max_distance: int = 16, distribution_weight: float = 0.25, **others: Any
    ) -> None:
        super().__init__(**others)
        self.max_distance = max_distance
        self.distribution_weight = distribution_weight

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL.DENSE` and `TEST.DETECTIONS_PER_IMAGE`."""
        node = cfg.MODEL.DENSE
        arguments = super().from_config(cfg)
        shapes = level_shapes(arguments["backbone"], node.IN_FEATURES)
        box_size = 4 * (node.MAX_DISTANCE + 1)
        return {
            **arguments,
            "head": DenseHead(**head_arguments(cfg, shapes), box_size=box_size),
            "max_distance": node.MAX_DISTANCE,
            "distribution_weight": node.DISTRIBUTION_WEIGHT,
        }

    def forward_training(
        self,
        images: Any,
        features: list[Tensor],
        predictions: Sequence[list[Tensor]],
        gt_instances: list[Instances],
    ) -> dict[str, Tensor]:
        """`loss_cls`, `loss_bbox` and `loss_dfl`; arguments as in `DenseDetector`."""
        levels = self._by_cell(predictions)
        learners = self.find_learners(features, gt_instances)
        # An image without objects counts as one with one cell, as published.
        normalizer = mean_over_processes(learners.counts.clamp(min=1).sum())
        logits = cat(levels[0], dim=1).float()
        raw, strides = learners.of(levels[1]), learners.strides[:, None]
        boxes = self.decoded(learners, expected_distances(raw) * strides)
        quality = matched_pairwise_iou(Boxes(boxes.detach()), Boxes(learners.boxes))
        class_loss = quality_focal_loss(logits, learners.labels(logits, quality), reduction="sum")
        # Boxes of cells that score more weigh more.
        weights = logits[learners.image, learners.cell].detach().sigmoid().amax(dim=1)
        total = mean_over_processes(weights.sum()).clamp(min=own_share())
        true = self.box2box_transform.get_deltas(learners.anchors, learners.boxes) / strides
        true = true.clamp(min=0, max=self.max_distance - _BELOW_LAST)
        each = distribution_focal_loss(raw.reshape(-1, self.max_distance + 1), true.flatten())
        distribution_loss = (each.reshape(-1, 4).mean(dim=1) * weights).sum()
        box_loss = (giou_loss(boxes, learners.boxes) * weights).sum()
        return {
            "loss_cls": class_loss / normalizer,
            "loss_bbox": self.box_weight * box_loss / total,
            "loss_dfl": self.distribution_weight * distribution_loss / total,
        }

    def _by_cell(self, predictions: Sequence[list[Tensor]]) -> list[list[Tensor]]:
        sizes = [self.num_classes, 4 * (self.max_distance + 1)]
        return self._transpose_dense_predictions(predictions, sizes)

    def _scores_and_deltas(
        self, predictions: Sequence[list[Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        logits, raw = self._by_cell(predictions)
        deltas = [expected_distances(x) * s for x, s in zip(raw, self.strides, strict=True)]
        return [x.sigmoid() for x in logits], deltas
