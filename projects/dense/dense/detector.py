"""What the detectors with one anchor a cell share, and the assignment of ATSS, GFL and VFNet.

N images, Ri cells of level i, R their sum, P cells that learn an object, C classes.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.layers import ShapeSpec, SoftNMS, sigmoid_focal_loss
from d2lite.modeling import Backbone
from d2lite.modeling.anchor_generator import DefaultAnchorGenerator
from d2lite.modeling.assigning import assign_by_statistics
from d2lite.modeling.backbone.backbone import check_maps
from d2lite.modeling.box_regression import Box2BoxTransform, Box2BoxTransformLinear
from d2lite.modeling.meta_arch.dense_detector import DenseDetector
from d2lite.structures import Instances
from d2lite.utils.events import log_scalars


class Learners(NamedTuple):
    """The cells that learn an object.

    Attributes:
        image: (P,) int64, whose cell it is.
        cell: (P,) int64, its number of R.
        classes: (P,) int64 of its object.
        boxes: (P, 4) float xyxy of its object, in pixels.
        anchors: (P, 4) float xyxy, its own.
        strides: (P,) float.
        counts: (N,) float, cells of each image.
    """

    image: Tensor
    cell: Tensor
    classes: Tensor
    boxes: Tensor
    anchors: Tensor
    strides: Tensor
    counts: Tensor

    def of(self, levels: Sequence[Tensor]) -> Tensor:
        """(P, K) float32, from one (N, Ri, K) a level."""
        return torch.cat(list(levels), dim=1)[self.image, self.cell].float()

    def labels(self, logits: Tensor, values: Tensor | float) -> Tensor:
        """(N, R, C) of zeros with a value at the class of each learner."""
        labels = torch.zeros_like(logits)
        labels[self.image, self.cell, self.classes] = values
        return labels


class OneAnchorDetector(DenseDetector):
    """A dense detector with one square anchor a cell.

    Of what the head gives, the first is taken for logits of classes and the second for four numbers
    of a box; a subclass with others overrides `_by_cell` and `_scores_and_deltas`.

    Args:
        backbone: see `Detector`.
        head: maps -> predictions of each.
        head_in_features: the maps, fine to coarse.
        box2box_transform: predictions of boxes -> boxes.
        num_classes: C.
        anchor_scale: the side of the square anchor of a cell, in strides.
        box_weight: of the loss of boxes.
        test_score_thresh: detections must score higher.
        test_topk_candidates: detections of each level that NMS is given.
        test_nms_thresh: IoU above which detections of a class suppress each other.
        max_detections_per_image: at most so many are returned.
        soft_nms: let scores of overlapping boxes fall, in place of dropping these.
        pixel_mean: see `Detector`.
        pixel_std: likewise.
    """

    predicts = frozenset({"instances"})
    clips_candidates = True

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        head: nn.Module,
        head_in_features: list[str],
        box2box_transform: Box2BoxTransform | Box2BoxTransformLinear,
        num_classes: int,
        anchor_scale: float = 8.0,
        box_weight: float = 2.0,
        test_score_thresh: float = 0.05,
        test_topk_candidates: int = 1000,
        test_nms_thresh: float = 0.6,
        max_detections_per_image: int = 100,
        soft_nms: SoftNMS | None = None,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ) -> None:
        super().__init__(
            backbone, head, head_in_features, pixel_mean=pixel_mean, pixel_std=pixel_std
        )
        known = backbone.output_shape()
        self.strides = [known[name].stride for name in head_in_features]
        self.anchor_generator = DefaultAnchorGenerator(
            sizes=[[anchor_scale * stride] for stride in self.strides],
            aspect_ratios=[1.0],
            strides=self.strides,
            offset=0.0,
        )
        self.box2box_transform = box2box_transform
        self.num_classes = num_classes
        self.box_weight = box_weight
        self.test_score_thresh = test_score_thresh
        self.test_topk_candidates = test_topk_candidates
        self.test_nms_thresh = test_nms_thresh
        self.max_detections_per_image = max_detections_per_image
        self.soft_nms = soft_nms

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL.DENSE` and `TEST.DETECTIONS_PER_IMAGE`, without `head`."""
        node = cfg.MODEL.DENSE
        arguments = cls._arguments_from(cfg, node)
        for name in ("focal_loss_alpha", "focal_loss_gamma"):
            del arguments[name]
        return {
            **arguments,
            "box2box_transform": Box2BoxTransformLinear(normalize_by_size=False),
            "anchor_scale": node.ANCHOR_SCALE,
            "box_weight": node.BOX_WEIGHT,
        }

    @torch.no_grad()
    def learners_of(
        self, anchors: Sequence[Tensor], owners: Sequence[Tensor], truth: Sequence[Instances]
    ) -> Learners:
        """The cells that learn an object, and what.

        Args:
            anchors: one (Ri, 4) float xyxy a level.
            owners: one (R,) int64 an image: the number of the object of each cell, -1 for none.
            truth: of each image, with `gt_boxes` and `gt_classes`.
        """
        strides = torch.cat(
            [x.new_full((len(x),), s) for x, s in zip(anchors, self.strides, strict=True)]
        )
        rows = [(owner >= 0).nonzero().squeeze(1) for owner in owners]
        images = [torch.full_like(row, number) for number, row in enumerate(rows)]
        classes, boxes = [], []
        for row, owner, gt in zip(rows, owners, truth, strict=True):
            classes.append(gt.gt_classes[owner[row]])
            boxes.append(gt.gt_boxes.tensor[owner[row]])
        cell = torch.cat(rows)
        log_scalars(num_pos_anchors=len(cell) / len(truth))
        return Learners(
            torch.cat(images),
            cell,
            torch.cat(classes),
            torch.cat(boxes).float(),
            torch.cat(list(anchors))[cell],
            strides[cell],
            strides.new_tensor([float(len(row)) for row in rows]),
        )

    def decoded(self, learners: Learners, deltas: Tensor) -> Tensor:
        """(P, 4) boxes, from (P, 4) predictions of the learners."""
        return self.box2box_transform.apply_deltas(deltas, learners.anchors)

    def _by_cell(self, predictions: Sequence[list[Tensor]]) -> list[list[Tensor]]:
        return self._transpose_dense_predictions(predictions, [self.num_classes, 4])

    def _scores_and_deltas(
        self, predictions: Sequence[list[Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        logits, deltas = self._by_cell(predictions[:2])
        return [x.sigmoid() for x in logits], deltas


class FocalDetector(OneAnchorDetector):
    """A dense detector that learns classes by the focal loss.

    Args:
        focal_loss_alpha: weight of foreground in the focal loss.
        focal_loss_gamma: how much easy examples are held back.
        **others: see `OneAnchorDetector`.
    """

    @configurable
    def __init__(
        self, *, focal_loss_alpha: float = 0.25, focal_loss_gamma: float = 2.0, **others: Any
    ) -> None:
        super().__init__(**others)
        self.focal_loss_alpha = focal_loss_alpha
        self.focal_loss_gamma = focal_loss_gamma

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL.DENSE` and `TEST.DETECTIONS_PER_IMAGE`, without `head`."""
        node = cfg.MODEL.DENSE
        return {
            **super().from_config(cfg),
            "focal_loss_alpha": node.FOCAL_LOSS_ALPHA,
            "focal_loss_gamma": node.FOCAL_LOSS_GAMMA,
        }

    def class_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The focal losses of (..., C) logits and labels, of the same shape."""
        return sigmoid_focal_loss(
            logits, labels, alpha=self.focal_loss_alpha, gamma=self.focal_loss_gamma
        )


class StatisticsDetector(OneAnchorDetector):
    """A dense detector whose cells learn objects by the assignment of ATSS.

    Args:
        topk: see `assign_by_statistics`.
        **others: see `OneAnchorDetector`.
    """

    @configurable
    def __init__(self, *, topk: int = 9, **others: Any) -> None:
        super().__init__(**others)
        self.topk = topk

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL.DENSE` and `TEST.DETECTIONS_PER_IMAGE`, without `head`."""
        return {**super().from_config(cfg), "topk": cfg.MODEL.DENSE.TOPK}

    @torch.no_grad()
    def find_learners(self, features: list[Tensor], truth: Sequence[Instances]) -> Learners:
        """Which cells learn an object, and what.

        Args:
            features: one (N, channels, Hi, Wi) a level.
            truth: of each image, with `gt_boxes` and `gt_classes`.
        """
        anchors = [boxes.tensor for boxes in self.anchor_generator(features)]
        owners = [assign_by_statistics(anchors, gt.gt_boxes.tensor, topk=self.topk) for gt in truth]
        return self.learners_of(anchors, owners, truth)


def level_shapes(backbone: Backbone, names: Sequence[str]) -> list[ShapeSpec]:
    """The shapes of the maps that a head is given, by `MODEL.DENSE.IN_FEATURES`."""
    known = backbone.output_shape()
    check_maps("the backbone", names, list(known), "MODEL.DENSE.IN_FEATURES")
    return [known[name] for name in names]
