"""FCOS as first published: a learned factor for each level, and boxes weighted by centerness.

N images, Ri cells of level i, R their sum, P cells that learn an object, C classes.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from d2lite.config import CfgNode, configurable
from d2lite.layers import cat, giou_loss, iou_loss
from d2lite.modeling import FCOS, META_ARCH_REGISTRY
from d2lite.modeling.box_regression import Box2BoxTransformLinear
from d2lite.modeling.meta_arch.fcos import centerness_of
from d2lite.structures import Boxes
from d2lite.utils.errors import ConfigError
from d2lite.utils.events import log_scalars
from d2lite.utils.process_means import mean_over_processes, own_share

from .atss import centerness_losses
from .detector import level_shapes
from .head import DenseHead, head_arguments

_BOX_LOSSES = {"iou": iou_loss, "giou": giou_loss}


@META_ARCH_REGISTRY.register()
class ScaledFCOS(FCOS):
    """`FCOS` with the head, the losses and the score of published weights.

    The core's FCOS has no factor for a level, and the root of the product of class score and
    centerness as its score; weights of one do not fit the other.

    Args:
        distances: what a predicted number means: "exp" its power of e in pixels, "relu" itself in
            strides if positive.
        box_loss: "iou" or "giou".
        center_sampling_radius: in strides; 0 for all cells in an object.
        **others: see `FCOS`.

    Source: Tian 2019, arXiv:1904.01355.
    """

    training_buffers = ()
    clips_candidates = True
    shares_reach_limits = True

    @configurable
    def __init__(
        self,
        *,
        distances: str = "exp",
        box_loss: str = "iou",
        center_sampling_radius: float = 0.0,
        **others: Any,
    ) -> None:
        if distances not in ("exp", "relu"):
            raise ConfigError(f'MODEL.DENSE.DISTANCES={distances!r}: use "exp" or "relu".')
        if box_loss not in _BOX_LOSSES:
            raise ConfigError(f"MODEL.DENSE.BOX_LOSS={box_loss!r}: use one of {[*_BOX_LOSSES]}.")
        super().__init__(center_sampling_radius=center_sampling_radius or math.inf, **others)
        self._distances, self._box_loss = distances, _BOX_LOSSES[box_loss]

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL.DENSE` and `TEST.DETECTIONS_PER_IMAGE`."""
        node = cfg.MODEL.DENSE
        arguments = cls._arguments_from(cfg, node)
        shapes = level_shapes(arguments["backbone"], node.IN_FEATURES)
        return {
            **arguments,
            "head": DenseHead(
                **head_arguments(cfg, shapes), box_size=4, centerness_tower=node.CENTERNESS_TOWER
            ),
            "box2box_transform": Box2BoxTransformLinear(normalize_by_size=False),
            "center_sampling_radius": node.CENTER_SAMPLING_RADIUS,
            "distances": node.DISTANCES,
            "box_loss": node.BOX_LOSS,
        }

    def losses(
        self,
        anchors: Any,
        pred_logits: Any = None,
        gt_labels: Any = None,
        pred_anchor_deltas: Any = None,
        gt_boxes: Any = None,
        pred_centerness: Any = None,
    ) -> dict[str, Tensor]:
        """`loss_cls`, `loss_bbox` and `loss_centerness`; arguments as in `FCOS`."""
        if pred_logits is None:
            return super().losses(anchors)
        labels_NR = torch.stack(gt_labels)
        image, cell = (labels_NR != self.num_classes).nonzero(as_tuple=True)
        log_scalars(num_pos_anchors=len(cell) / len(gt_labels))
        count = labels_NR.new_tensor(float(len(cell)), dtype=torch.float32)
        normalizer = mean_over_processes(count).clamp(min=own_share())
        points, wanted = Boxes.cat(anchors).tensor[cell], torch.stack(gt_boxes)[image, cell]
        found = centerness_losses(
            self.box2box_transform.apply_deltas(
                cat(pred_anchor_deltas, dim=1)[image, cell], points
            ),
            wanted,
            cat(pred_centerness, dim=1)[image, cell, 0].float(),
            centerness_of(self.box2box_transform.get_deltas(points, wanted)),
            self._box_loss,
            normalizer,
        )
        return {"loss_cls": self._focal_loss(pred_logits, labels_NR) / normalizer, **found}

    def _by_cell(self, predictions: Sequence[list[Tensor]]) -> list[list[Tensor]]:
        logits, raw, centerness = super()._by_cell(predictions)
        deltas = []
        for x, stride in zip(raw, self.anchor_generator.strides, strict=True):
            # In float32, since a power of e may pass the range of float16.
            x = x.float()
            deltas.append(x.exp() if self._distances == "exp" else x.relu() * stride)
        return [logits, deltas, centerness]

    def _scores_and_deltas(
        self, predictions: Sequence[list[Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        logits, deltas, _ = self._by_cell(predictions)
        return [x.sigmoid() for x in logits], deltas

    def _score_factors(self, predictions: Sequence[list[Tensor]]) -> list[Tensor]:
        return [x.flatten(1).sigmoid() for x in predictions[2]]
