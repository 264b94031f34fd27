"""YOLOX: a class, a box and the probability of an object for every cell, without anchors.

N images, R cells of all levels, C classes.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from d2lite.config import CfgNode, configurable
from d2lite.layers import SoftNMS
from d2lite.modeling import META_ARCH_REGISTRY, Backbone, Detector
from d2lite.modeling.assigning import Assignment, assign_by_sim_ota
from d2lite.modeling.backbone.backbone import check_maps
from d2lite.modeling.dense_choice import DenseChoice
from d2lite.modeling.dense_predictions import cell_corners, cells_first
from d2lite.modeling.keep_best import soft_nms_arguments
from d2lite.modeling.meta_arch.detector import Batch, common_arguments, postprocess_batch
from d2lite.structures import Boxes, Instances, matched_pairwise_iou
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
class YOLOX(Detector):
    """A score and a box for every cell.

    Args:
        backbone: see `Detector`.
        head: maps -> predictions of each cell.
        in_features: the maps, finest first.
        num_classes: C.
        topk: see `assign_by_sim_ota`.
        center_radius: likewise, in strides.
        box_weight: of the loss of boxes.
        l1_from: the iteration of the training from which on boxes are also compared by L1; None
            for never.
        test_score_thresh: detections must score higher.
        test_topk_candidates: detections of each level that NMS is given.
        test_nms_thresh: IoU above which detections of a class suppress each other.
        max_detections_per_image: at most so many are returned.
        soft_nms: let scores of overlapping boxes fall, in place of dropping these.
        pixel_mean: the colour of the padding; the network sees pixels as they are.
        pixel_std: see `Detector`.

    Source: Ge 2021, arXiv:2107.08430.
    """

    predicts = frozenset({"instances"})
    compiled_parts = ("backbone", "head")

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        head: YOLOXHead,
        in_features: Sequence[str],
        num_classes: int,
        topk: int = 10,
        center_radius: float = 2.5,
        box_weight: float = 5.0,
        l1_from: int | None = None,
        test_score_thresh: float = 0.01,
        test_topk_candidates: int = 10000,
        test_nms_thresh: float = 0.65,
        max_detections_per_image: int = 100,
        soft_nms: SoftNMS | None = None,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ) -> None:
        super().__init__(backbone=backbone, pixel_mean=pixel_mean, pixel_std=pixel_std)
        self.head = head
        self.in_features = list(in_features)
        self.num_classes = num_classes
        self.topk = topk
        self.center_radius = center_radius
        self.box_weight = box_weight
        self.l1_from = l1_from
        self.test_score_thresh = test_score_thresh
        self.test_topk_candidates = test_topk_candidates
        self.test_nms_thresh = test_nms_thresh
        self.max_detections_per_image = max_detections_per_image
        self.soft_nms = soft_nms

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL.YOLOX`, `SOLVER.MAX_ITER` and `TEST.DETECTIONS_PER_IMAGE`."""
        node = cfg.MODEL.YOLOX
        arguments = common_arguments(cfg)
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
            "num_classes": node.NUM_CLASSES,
            "topk": node.TOPK,
            "center_radius": node.CENTER_RADIUS,
            "box_weight": node.BOX_WEIGHT,
            "l1_from": cfg.SOLVER.MAX_ITER - last if last else None,
            "test_score_thresh": node.SCORE_THRESH_TEST,
            "test_topk_candidates": node.TOPK_CANDIDATES_TEST,
            "test_nms_thresh": node.NMS_THRESH_TEST,
            "max_detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
            **soft_nms_arguments(cfg),
        }

    def compute_losses(self, batched_inputs: Batch) -> dict[str, Tensor]:
        """`loss_obj`, `loss_cls`, `loss_bbox`, and towards the end of a training `loss_l1`."""
        images = self.preprocess_image(batched_inputs)
        truth = self.truth_of(batched_inputs)
        cells = self._run(images.tensor)
        found = [self._assign(cells, i, gt) for i, gt in enumerate(truth)]
        owner = torch.stack([one.owner for one in found])
        image, row = (owner >= 0).nonzero(as_tuple=True)
        quality = torch.stack([one.quality for one in found])[image, row]
        # Boxes of all images in a row; an owner counts from the first box of its own image.
        firsts = torch.tensor([0, *(len(gt) for gt in truth)], device=owner.device).cumsum(0)
        wanted = owner[image, row] + firsts[image]
        boxes = torch.cat([gt.gt_boxes.tensor for gt in truth])[wanted]
        classes = torch.cat([gt.gt_classes for gt in truth])[wanted]

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

    def predict(self, batched_inputs: Batch) -> list[dict[str, Any]]:
        """{"instances": detections} of each image, in pixels of `height` and `width`."""
        images = self.preprocess_image(batched_inputs)
        cells = self._run(images.tensor)
        found = [
            self._choice.detect(boxes, scores, cells.counts, size)
            for boxes, scores, size in zip(
                cells.boxes, _scores(cells), images.image_sizes, strict=True
            )
        ]
        for instances in found:
            instances.remove("cell")
        return postprocess_batch(found, batched_inputs, images.image_sizes)

    def predict_padded(self, images: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """See `Detector.predict_padded`."""
        cells = self._run(images)
        found, _ = self._choice.detect_padded(cells.boxes, _scores(cells), cells.counts, sizes)
        return found._asdict()

    @property
    def _choice(self) -> DenseChoice:
        return DenseChoice(
            self.test_score_thresh,
            self.test_topk_candidates,
            self.test_nms_thresh,
            self.max_detections_per_image,
            self.soft_nms,
        )

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
