"""SABL on RetinaNet: each side of a box as a bucket and an offset from it.

N images, Ri cells of level i, R their sum, P cells that learn an object, S buckets of a side.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from d2lite.config import CfgNode, configurable
from d2lite.layers import cat, smooth_l1_loss
from d2lite.modeling import META_ARCH_REGISTRY
from d2lite.modeling.anchor_generator import DefaultAnchorGenerator
from d2lite.modeling.box_buckets import BucketTransform, bucket_confidence
from d2lite.structures import Boxes, Instances, pairwise_iou
from d2lite.utils.errors import ConfigError
from d2lite.utils.process_means import mean_over_processes

from .detector import FocalDetector, level_shapes
from .head import head_arguments
from .sabl_head import SABLHead

# Cells learn objects by the anchors of RetinaNet at them, these shapes of three sizes an octave.
_RATIOS = [0.5, 1.0, 2.0]
_SIZES_AN_OCTAVE = 3
# Where the loss of offsets turns linear; the value of published code.
_SMOOTH_L1_BETA = 1.0 / 9.0
# An offset is learnt by this many buckets of a side.
_BUCKETS_WITH_OFFSET = 2


def assign_by_overlap(quality: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Say of each cell which object it learns, and whether it learns nothing at all.

    Each object has the cells that overlap it best, however little; of several such objects a cell
    learns the last. Other cells learn the object that they overlap best.

    Args:
        quality: (M, R) float, IoU of the M objects of an image and the cells.
        low: below this IoU a cell learns that there is nothing.
        high: from this IoU on it learns its object.

    Returns:
        (R,) int64, the number of the object, -1 for none; (R,) bool, in between.
    """
    if not len(quality):
        none = torch.full((quality.shape[1],), -1, device=quality.device)
        return none, none > 0
    most, owner = quality.max(dim=0)
    owner = owner.masked_fill(most < high, -1)
    best = quality.amax(dim=1, keepdim=True)
    numbers = torch.arange(len(quality), device=quality.device)[:, None]
    own = torch.where((quality == best) & (best > 0), numbers, -1).amax(dim=0)
    owner = torch.where(own >= 0, own, owner)
    return owner, (owner < 0) & (most >= low)


@META_ARCH_REGISTRY.register()
class SABLRetinaNet(FocalDetector):
    """Class scores, buckets of the four sides and offsets of every cell, from one square.

    Args:
        iou_thresholds: see `assign_by_overlap`; a cell's IoU is that of its best anchor of
            RetinaNet.
        bucket_weight: of the loss of buckets; `box_weight` is that of offsets.
        **others: see `FocalDetector`.

    Source: Wang 2020, arXiv:1912.04260.
    """

    box2box_transform: BucketTransform  # type: ignore[assignment]

    @configurable
    def __init__(
        self,
        *,
        iou_thresholds: Sequence[float] = (0.4, 0.5),
        anchor_scale: float = 4.0,
        bucket_weight: float = 1.5,
        **others: Any,
    ) -> None:
        super().__init__(anchor_scale=anchor_scale, **others)
        scales = [anchor_scale * 2 ** (i / _SIZES_AN_OCTAVE) for i in range(_SIZES_AN_OCTAVE)]
        self.candidate_generator = DefaultAnchorGenerator(
            sizes=[[scale * stride for scale in scales] for stride in self.strides],
            aspect_ratios=_RATIOS,
            strides=self.strides,
            offset=0.0,
        )
        self.low, self.high = iou_thresholds
        self.bucket_weight = bucket_weight

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL.DENSE` and `TEST.DETECTIONS_PER_IMAGE`."""
        node = cfg.MODEL.DENSE
        arguments = super().from_config(cfg)
        if node.NUM_BUCKETS < 3 or node.BUCKET_SCALE <= 0:
            raise ConfigError(
                f"MODEL.DENSE.NUM_BUCKETS={node.NUM_BUCKETS}, BUCKET_SCALE={node.BUCKET_SCALE}: "
                "use at least 3 buckets and a scale above 0."
            )
        thresholds = list(node.IOU_THRESHOLDS)
        if len(thresholds) != 2 or not 0 < thresholds[0] <= thresholds[1] <= 1:
            raise ConfigError(
                f"MODEL.DENSE.IOU_THRESHOLDS={thresholds}: use two ascending numbers in (0, 1]."
            )
        transform = BucketTransform(node.NUM_BUCKETS, node.BUCKET_SCALE)
        shapes = level_shapes(arguments["backbone"], node.IN_FEATURES)
        return {
            **arguments,
            "head": SABLHead(**head_arguments(cfg, shapes), side_buckets=transform.side_buckets),
            "box2box_transform": transform,
            "iou_thresholds": thresholds,
            "bucket_weight": node.BUCKET_WEIGHT,
        }

    def forward_training(
        self,
        images: Any,
        features: list[Tensor],
        predictions: Sequence[list[Tensor]],
        gt_instances: list[Instances],
    ) -> dict[str, Tensor]:
        """`loss_cls`, `loss_bucket` and `loss_bbox`; arguments as in `DenseDetector`."""
        levels = self._by_cell(predictions)
        logits = cat(levels[0], dim=1).float()
        owners, left_out = self._assign(features, gt_instances)
        anchors = [boxes.tensor for boxes in self.anchor_generator(features)]
        learners = self.learners_of(anchors, owners, gt_instances)
        # An image without objects counts as one with one cell, as published.
        normalizer = mean_over_processes(learners.counts.clamp(min=1).sum())
        class_loss = self.class_losses(logits, learners.labels(logits, 1.0))
        class_loss = class_loss.masked_fill(left_out[..., None], 0.0)
        targets = self.box2box_transform.find_targets(learners.anchors, learners.boxes)
        scores, offsets = (
            learners.of(x).unflatten(1, (4, self.box2box_transform.side_buckets))
            for x in levels[1:]
        )
        bucket_loss = F.binary_cross_entropy_with_logits(
            scores, targets.labels, targets.label_weights, reduction="sum"
        )
        offset_loss = smooth_l1_loss(offsets, targets.offsets, _SMOOTH_L1_BETA)
        offset_loss = (offset_loss * targets.offset_weights).sum()
        buckets = 4 * self.box2box_transform.side_buckets
        return {
            "loss_cls": class_loss.sum() / normalizer,
            "loss_bucket": self.bucket_weight * bucket_loss / (normalizer * buckets),
            "loss_bbox": self.box_weight * offset_loss / (normalizer * 4 * _BUCKETS_WITH_OFFSET),
        }

    @torch.no_grad()
    def _assign(
        self, features: list[Tensor], truth: Sequence[Instances]
    ) -> tuple[list[Tensor], Tensor]:
        """(R,) owners of each image, and (N, R) bool, the cells that learn nothing."""
        candidates = Boxes.cat(self.candidate_generator(features))
        owners, left_out = [], []
        for gt in truth:
            quality = pairwise_iou(gt.gt_boxes, candidates)
            quality = quality.unflatten(1, (-1, len(_RATIOS) * _SIZES_AN_OCTAVE)).amax(dim=2)
            owner, is_unsure = assign_by_overlap(quality, self.low, self.high)
            owners.append(owner)
            left_out.append(is_unsure)
        return owners, torch.stack(left_out)

    def _by_cell(self, predictions: Sequence[list[Tensor]]) -> list[list[Tensor]]:
        count = 4 * self.box2box_transform.side_buckets
        return self._transpose_dense_predictions(predictions, [self.num_classes, count, count])

    def _scores_and_deltas(
        self, predictions: Sequence[list[Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        logits, *sides = self._by_cell(predictions)
        deltas = [torch.cat(pair, dim=2) for pair in zip(*sides, strict=True)]
        return [x.sigmoid() for x in logits], deltas

    def _score_factors(self, predictions: Sequence[list[Tensor]]) -> list[Tensor]:
        _, scores, _ = self._by_cell(predictions)
        shape = 4, self.box2box_transform.side_buckets
        return [bucket_confidence(x.unflatten(2, shape)) for x in scores]
