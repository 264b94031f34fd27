"""FSAF: distances to the sides, learnt where the network already does best.

N images, Ri cells of level i, R their sum, P cells that learn an object, C classes.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.layers import ShapeSpec, cat, iou_loss
from d2lite.modeling import META_ARCH_REGISTRY
from d2lite.modeling.box_sides import Box2BoxTransformTBLR
from d2lite.modeling.meta_arch.retinanet_head import RetinaNetHead
from d2lite.structures import Instances
from d2lite.utils.errors import ConfigError
from d2lite.utils.process_means import mean_over_processes, own_share

from .detector import FocalDetector, level_shapes
from .feature_selection import assign_on_levels, best_levels, cells_in_regions, learnable_cells
from .head import head_arguments

# Predicted distances start here, since negative ones count as 0 and have no gradient; the value
# of published code.
_FIRST_DISTANCE = 0.25


@META_ARCH_REGISTRY.register()
class FSAF(FocalDetector):
    """Class scores and distances to the four sides of every cell; the branch without anchors.

    Args:
        effective_region: share of the sides of an object in which cells learn it.
        ignored_region: likewise in which they do not learn that it is absent.
        **others: see `FocalDetector`.

    Source: Zhu 2019, arXiv:1903.00621.
    """

    @configurable
    def __init__(
        self, *, effective_region: float = 0.2, ignored_region: float = 0.5, **others: Any
    ) -> None:
        super().__init__(anchor_scale=1.0, **others)
        self.effective_region = effective_region
        self.ignored_region = ignored_region

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL.DENSE` and `TEST.DETECTIONS_PER_IMAGE`."""
        node = cfg.MODEL.DENSE
        arguments = super().from_config(cfg)
        del arguments["anchor_scale"]
        for key in ("EFFECTIVE_REGION", "IGNORED_REGION"):
            if not 0 < node[key] <= 1:
                raise ConfigError(f"MODEL.DENSE.{key}={node[key]}: use one in (0, 1].")
        if node.NORMALIZER <= 0:
            raise ConfigError(f"MODEL.DENSE.NORMALIZER={node.NORMALIZER}: use one above 0.")
        shapes = level_shapes(arguments["backbone"], node.IN_FEATURES)
        return {
            **arguments,
            "head": _make_head(cfg, shapes),
            "box2box_transform": Box2BoxTransformTBLR(node.NORMALIZER),
            "effective_region": node.EFFECTIVE_REGION,
            "ignored_region": node.IGNORED_REGION,
        }

    def forward_training(
        self,
        images: Any,
        features: list[Tensor],
        predictions: Sequence[list[Tensor]],
        gt_instances: list[Instances],
    ) -> dict[str, Tensor]:
        """`loss_cls` and `loss_bbox`; arguments as in `DenseDetector`."""
        levels = self._by_cell(predictions)
        logits = cat(levels[0], dim=1).float()
        anchors = [boxes.tensor for boxes in self.anchor_generator(features)]
        owners, left_out = self._assign(anchors, logits, cat(levels[1], dim=1), gt_instances)
        learners = self.learners_of(anchors, owners, gt_instances)
        normalizer = mean_over_processes(learners.counts.sum()).clamp(min=own_share())
        each = self.class_losses(logits, learners.labels(logits, 1.0))
        boxes = self.decoded(learners, learners.of(levels[1]))
        box_loss = iou_loss(boxes, learners.boxes, reduction="sum")
        return {
            "loss_cls": each.masked_fill(left_out, 0.0).sum() / normalizer,
            "loss_bbox": self.box_weight * box_loss / normalizer,
        }

    @torch.no_grad()
    def _assign(
        self,
        anchors: Sequence[Tensor],
        logits: Tensor,
        deltas: Tensor,
        truth: Sequence[Instances],
    ) -> tuple[list[Tensor], Tensor]:
        """(R,) owners of each image, and (N, R, C) bool, the classes that cells leave out."""
        cells = torch.cat(list(anchors))
        levels = torch.cat([torch.full((len(x),), i) for i, x in enumerate(anchors)]).to(
            cells.device
        )
        owners, left_out = [], []
        for gt, logits_RC, deltas_R4 in zip(truth, logits, deltas, strict=True):
            boxes = gt.gt_boxes.tensor.float()
            is_learnable = learnable_cells(cells, boxes, self.effective_region)
            row, number = is_learnable.nonzero(as_tuple=True)
            one_hot = F.one_hot(gt.gt_classes, self.num_classes).to(logits.dtype)
            each = self.class_losses(logits_RC[row], one_hot[number])
            found = self.box2box_transform.apply_deltas(deltas_R4[row], cells[row])
            losses = each.sum(dim=1) + iou_loss(found, boxes[number])
            best = best_levels(losses, number, levels[row], len(boxes), len(anchors))
            owner, objects = assign_on_levels(
                is_learnable,
                cells_in_regions(cells, boxes, self.ignored_region),
                (levels[:, None] - best).abs(),
                gt.gt_boxes.area(),
            )
            classes = objects.to(one_hot.dtype) @ one_hot > 0
            learner = (owner >= 0).nonzero().squeeze(1)
            # It learns of its class by its own object, also where others of that class are near.
            classes[learner, gt.gt_classes[owner[learner]]] = False
            owners.append(owner)
            left_out.append(classes)
        return owners, torch.stack(left_out)


def _make_head(cfg: CfgNode, shapes: list[ShapeSpec]) -> RetinaNetHead:
    given = head_arguments(cfg, shapes)
    head: RetinaNetHead = RetinaNetHead(
        input_shape=shapes,
        num_classes=given["num_classes"],
        num_anchors=1,
        conv_dims=[given["channels"]] * given["num_convs"],
        norm=given["norm"],
        prior_prob=given["prior_prob"],
    )
    assert head.bbox_pred.bias is not None
    nn.init.constant_(head.bbox_pred.bias, _FIRST_DISTANCE)
    return head
