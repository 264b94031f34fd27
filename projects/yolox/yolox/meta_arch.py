"""YOLOX: a class, a box and the probability of an object for every cell, without anchors.

N images, R cells of all levels, C classes.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from d2lite.config import CfgNode, configurable
from d2lite.modeling import META_ARCH_REGISTRY
from d2lite.modeling.assigning import Assignment, assign_by_sim_ota, learners_of
from d2lite.modeling.backbone.backbone import check_maps
from d2lite.modeling.dense_predictions import cell_corners, cells_first
from d2lite.modeling.meta_arch.cell_detector import CellDetector
from d2lite.modeling.meta_arch.detector import Batch
from d2lite.structures import Boxes, Instances, matched_pairwise_iou
from d2lite.utils.errors import ConfigError
from d2lite.utils.events import get_event_storage, has_event_storage, log_scalars
from d2lite.utils.process_means import mean_over_processes, own_share

from .head import YOLOXHead

# Avoids an infinite logarithm; the value of published code.
_EPS = 1e-8


class Cells(NamedTuple):
    """The cells of all levels: corners (R, 2) in pixels, strides (R,), and predictions.

    counts: cells of each level; logits (N, R, C); deltas (N, R, 4), see `YOLOXHead`; objectness
    (N, R) logits; boxes (N, R, 4) xyxy in pixels.
    """

    corners: Tensor
    strides: Tensor
    counts: list[int]
    logits: Tensor
    deltas: Tensor
    objectness: Tensor
    boxes: Tensor


@META_ARCH_REGISTRY.register()
class YOLOX(CellDetector):
    """A score and a box for every cell.

    Args:
        head: maps -> predictions of each cell.
        in_features: the maps, finest first.
        topk: see `assign_by_sim_ota`.
        center_radius: likewise, in strides.
        box_weight: of the loss of boxes.
        l1_from: the iteration of the training from which on boxes are also compared by L1; None
            for never.
        **others: see `CellDetector`; `pixel_mean` is the colour of the padding, and the network
            sees pixels as they are.

    Raises:
        ConfigError: for topk below 1.

    Source: Ge 2021, arXiv:2107.08430.
    """

    @configurable
    def __init__(
        self,
        *,
        head: YOLOXHead,
        in_features: Sequence[str],
        topk: int = 10,
        center_radius: float = 2.5,
        box_weight: float = 5.0,
        l1_from: int | None = None,
        **others: Any,
    ) -> None:
        published = {
            "test_score_thresh": 0.01,
            "test_topk_candidates": 10000,
            "test_nms_thresh": 0.65,
        }
        super().__init__(head=head, **{**published, **others})
        if topk < 1:
            raise ConfigError(f"MODEL.YOLOX.TOPK={topk}: give at least 1, else nothing is learnt.")
        self.in_features = list(in_features)
        self.topk = topk
        self.center_radius = center_radius
        self.box_weight = box_weight
        self.l1_from = l1_from

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL.YOLOX`, `SOLVER.MAX_ITER` and `TEST.DETECTIONS_PER_IMAGE`."""
        node = cfg.MODEL.YOLOX
        arguments = cls._arguments_from(cfg, node)
        known = arguments["backbone"].output_shape()
        check_maps("the backbone", node.IN_FEATURES, list(known), "MODEL.YOLOX.IN_FEATURES")
        shapes = [known[name] for name in node.IN_FEATURES]
        last = round(node.L1_LAST_PART * cfg.SOLVER.MAX_ITER)
        return {
            **arguments,
            "head": YOLOXHead(
                shapes,
                num_classes=node.NUM_CLASSES,
                channels=node.CHANNELS or shapes[0].channels,
                num_convs=node.NUM_CONVS,
                norm=node.NORM,
                depthwise=node.DEPTHWISE,
            ),
            "in_features": node.IN_FEATURES,
            "topk": node.TOPK,
            "center_radius": node.CENTER_RADIUS,
            "box_weight": node.BOX_WEIGHT,
            "l1_from": cfg.SOLVER.MAX_ITER - last if last else None,
        }

    def compute_losses(self, batched_inputs: Batch) -> dict[str, Tensor]:
        """`loss_obj`, `loss_cls`, `loss_bbox`, and towards the end of a training `loss_l1`."""
        images = self.preprocess_image(batched_inputs)
        truth = self.truth_of(batched_inputs)
        cells = self._run(images.tensor)
        found = [self._assign(cells, i, gt) for i, gt in enumerate(truth)]
        owner = torch.stack([one.owner for one in found])
        image, row, boxes, classes = learners_of(owner, truth)
        quality = torch.stack([one.quality for one in found])[image, row]
        log_scalars({"yolox/num_positive_cells": len(row) / len(found)})
        count = cells.logits.new_tensor(float(len(row)), dtype=torch.float32)
        normalizer = mean_over_processes(count).clamp(min=own_share())
        labels = F.one_hot(classes, self.num_classes) * quality[:, None]
        ious = matched_pairwise_iou(Boxes(cells.boxes[image, row]), Boxes(boxes))
        sums = {
            "loss_obj": _entropy(cells.objectness, (owner >= 0).float()),
            "loss_cls": _entropy(cells.logits[image, row], labels),
            "loss_bbox": self.box_weight * (1 - ious**2).sum(),
        }
        if self._compares_by_l1():
            start, side = cells.corners[row], cells.strides[row, None]
            centre = ((boxes[:, :2] + boxes[:, 2:]) / 2 - start) / side
            size = ((boxes[:, 2:] - boxes[:, :2]) / side).clamp(min=_EPS).log()
            differences = cells.deltas[image, row] - torch.cat([centre, size], dim=1)
            sums["loss_l1"] = differences.abs().sum()
        # Where no object is, only this gives these parameters a gradient.
        sums["loss_cls"] = sums["loss_cls"] + cells.logits.flatten()[:0].sum()
        sums["loss_bbox"] = sums["loss_bbox"] + cells.boxes.flatten()[:0].sum()
        return {name: value / normalizer for name, value in sums.items()}

    def _decoded(self, images: Tensor) -> tuple[Tensor, Tensor, list[int]]:
        cells = self._run(images)
        return cells.boxes, _scores(cells), cells.counts

    def _run(self, images: Tensor) -> Cells:
        """What the network predicts for (N, 3, H, W) normalised images."""
        # The published weights are for pixels of 0 to 255 and grey padding: PIXEL_MEAN is the grey,
        # which is 0 in normalised images and is added again.
        maps = self.backbone(images * self.pixel_std + self.pixel_mean)
        predicted = self.head([maps[name] for name in self.in_features])
        corners, strides = cell_corners(predicted.logits, self.head.strides)
        # In float32, since a power of e may pass the range of float16.
        deltas = cells_first(predicted.deltas).float()
        sides = strides[:, None]
        centres, halves = corners + deltas[..., :2] * sides, deltas[..., 2:].exp() * sides / 2
        return Cells(
            corners,
            strides,
            [level.shape[-2] * level.shape[-1] for level in predicted.logits],
            cells_first(predicted.logits).float(),
            deltas,
            cells_first(predicted.objectness).squeeze(2).float(),
            torch.cat([centres - halves, centres + halves], dim=2),
        )

    def _assign(self, cells: Cells, number: int, gt: Instances) -> Assignment:
        return assign_by_sim_ota(
            cells.corners + cells.strides[:, None] / 2,
            cells.strides,
            cells.logits[number],
            cells.objectness[number],
            cells.boxes[number],
            gt.gt_boxes.tensor,
            gt.gt_classes,
            topk=self.topk,
            radius=self.center_radius,
        )

    def _compares_by_l1(self) -> bool:
        iteration = get_event_storage().iter if has_event_storage() else 0
        return self.l1_from is not None and iteration >= self.l1_from


def _entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, labels, reduction="sum")


def _scores(cells: Cells) -> Tensor:
    """(N, R, C); 0 but for the best class of each cell, the only one that a cell may detect."""
    chances = cells.logits.sigmoid()
    best = chances.amax(dim=2, keepdim=True)
    return chances.where(chances == best, 0.0) * cells.objectness.sigmoid()[..., None]
