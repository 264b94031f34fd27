"""RetinaNet: dense detection with the focal loss.

N images, L levels, Ri anchors of level i, R their sum, C classes.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.layers import HarmonizedBoxLoss, HarmonizedClassLoss, SoftNMS
from d2lite.structures import Boxes, ImageList, Instances, pairwise_iou
from d2lite.utils.errors import ConfigError

from ..anchor_generator import build_anchor_generator
from ..backbone import Backbone
from ..backbone.backbone import check_maps
from ..box_regression import Box2BoxTransform, _dense_box_regression_loss
from ..dense_predictions import permute_to_N_HWA_K
from ..matcher import Matcher, match_anchors
from .build import META_ARCH_REGISTRY
from .dense_detector import DenseDetector
from .retinanet_head import RetinaNetHead

__all__ = ["RetinaNet", "RetinaNetHead", "permute_to_N_HWA_K"]

# Where the running count of foreground anchors starts.
_FIRST_NORMALIZER = 100.0


@META_ARCH_REGISTRY.register()
class RetinaNet(DenseDetector):
    """One-stage detection: class scores and a box for every anchor.

    Args:
        backbone: images -> feature maps.
        head: maps -> class logits and deltas of each.
        head_in_features: the maps that the head is given.
        anchor_generator: maps -> anchors of each.
        box2box_transform: deltas <-> boxes.
        anchor_matcher: labels anchors by their IoU with ground truth.
        num_classes: without background.
        focal_loss_alpha: weight of foreground in the focal loss.
        focal_loss_gamma: how much easy examples are held back.
        smooth_l1_beta: where smooth L1 turns linear.
        box_reg_loss_type: see `box_regression_loss`; or "ghm", gradient harmonized, which is not
            divided by the number of objects' anchors.
        test_score_thresh: detections must score higher.
        test_topk_candidates: detections of each level that NMS is given.
        test_nms_thresh: IoU above which detections of a class suppress each other.
        max_detections_per_image: at most so many are returned.
        soft_nms: let scores of overlapping boxes fall, in place of dropping these.
        clips_candidates: cut boxes at the borders of the image before NMS.
        pixel_mean: of each channel.
        pixel_std: of each channel.
        vis_period: log an image every so many iterations; 0 for never.
        input_format: channel order of the images.
        class_loss: "focal", or "ghm", which is not divided by the number of objects' anchors.
        box_reg_loss_weight: of the loss of boxes.

    Attributes:
        loss_normalizer: running number of foreground anchors in a batch, by which losses are
            divided. It is in `training_state`, not in `state_dict()`.

    Source: Lin 2017, arXiv:1708.02002.
    """

    predicts = frozenset({"instances"})
    training_buffers = ("loss_normalizer",)

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        head: nn.Module,
        head_in_features: list[str],
        anchor_generator: nn.Module,
        box2box_transform: Box2BoxTransform,
        anchor_matcher: Matcher,
        num_classes: int,
        focal_loss_alpha: float = 0.25,
        focal_loss_gamma: float = 2.0,
        smooth_l1_beta: float = 0.0,
        box_reg_loss_type: str = "smooth_l1",
        test_score_thresh: float = 0.05,
        test_topk_candidates: int = 1000,
        test_nms_thresh: float = 0.5,
        max_detections_per_image: int = 100,
        soft_nms: SoftNMS | None = None,
        clips_candidates: bool = False,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        vis_period: int = 0,
        input_format: str = "BGR",
        class_loss: str = "focal",
        box_reg_loss_weight: float = 1.0,
    ) -> None:
        super().__init__(
            backbone, head, head_in_features, pixel_mean=pixel_mean, pixel_std=pixel_std
        )
        self.num_classes = num_classes
        self.anchor_generator = anchor_generator
        self.box2box_transform = box2box_transform
        self.anchor_matcher = anchor_matcher
        self.focal_loss_alpha = focal_loss_alpha
        self.focal_loss_gamma = focal_loss_gamma
        self.smooth_l1_beta = smooth_l1_beta
        self.box_reg_loss_type = box_reg_loss_type
        self.box_reg_loss_weight = box_reg_loss_weight
        if class_loss not in ("focal", "ghm"):
            raise ConfigError(f'MODEL.RETINANET.CLASS_LOSS={class_loss!r}: use "focal" or "ghm".')
        self.class_harmony = HarmonizedClassLoss() if class_loss == "ghm" else None
        self.box_harmony = HarmonizedBoxLoss() if box_reg_loss_type == "ghm" else None
        self.test_score_thresh = test_score_thresh
        self.test_topk_candidates = test_topk_candidates
        self.test_nms_thresh = test_nms_thresh
        self.max_detections_per_image = max_detections_per_image
        self.soft_nms = soft_nms
        self.clips_candidates = clips_candidates
        self.vis_period = vis_period
        self.input_format = input_format
        self._start_normalizer(_FIRST_NORMALIZER)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL`, `TEST.DETECTIONS_PER_IMAGE`, `INPUT.FORMAT` and `VIS_PERIOD`."""
        node = cfg.MODEL.RETINANET
        arguments = cls._arguments_from(cfg, node)
        known = arguments["backbone"].output_shape()
        check_maps("the backbone", node.IN_FEATURES, list(known), "MODEL.RETINANET.IN_FEATURES")
        shapes = [known[name] for name in node.IN_FEATURES]
        if node.CLASS_LOSS != "focal":
            arguments["class_loss"] = node.CLASS_LOSS
        if node.BBOX_REG_LOSS_WEIGHT != 1:
            arguments["box_reg_loss_weight"] = node.BBOX_REG_LOSS_WEIGHT
        return {
            **arguments,
            "head": RetinaNetHead(cfg, shapes),
            "anchor_generator": build_anchor_generator(cfg, shapes),
            "box2box_transform": Box2BoxTransform(weights=node.BBOX_REG_WEIGHTS),
            "anchor_matcher": Matcher(
                node.IOU_THRESHOLDS, node.IOU_LABELS, allow_low_quality_matches=True
            ),
            "smooth_l1_beta": node.SMOOTH_L1_LOSS_BETA,
            "box_reg_loss_type": node.BBOX_REG_LOSS_TYPE,
            "clips_candidates": node.CLIP_CANDIDATES,
            "vis_period": cfg.VIS_PERIOD,
            "input_format": cfg.INPUT.FORMAT,
        }

    def forward_training(
        self,
        images: ImageList,
        features: list[Tensor],
        predictions: Sequence[list[Tensor]],
        gt_instances: list[Instances],
    ) -> dict[str, Tensor]:
        """Label the anchors and compare; arguments as in `DenseDetector`.

        Returns:
            `loss_cls` and `loss_box_reg`.
        """
        logits, deltas = self._transpose_dense_predictions(predictions, [self.num_classes, 4])
        anchors = self.anchor_generator(features)
        gt_labels, gt_boxes = self.label_anchors(anchors, gt_instances)
        return self.losses(anchors, logits, gt_labels, deltas, gt_boxes)

    def losses(
        self,
        anchors: Any,
        pred_logits: Any = None,
        gt_labels: Any = None,
        pred_anchor_deltas: Any = None,
        gt_boxes: Any = None,
    ) -> dict[str, Tensor]:
        """Compare predictions with labelled anchors; or, given a batch alone, compute everything.

        The name has two uses: `losses(batch)` is a method of every `Detector`, and with five
        arguments it is the reference's public method, which subclasses override.

        Args:
            anchors: of each level; or a batch, and no other argument.
            pred_logits: one (N, Ri, C) a level.
            gt_labels: one (R,) an image, as `label_anchors` returns them.
            pred_anchor_deltas: one (N, Ri, 4) a level.
            gt_boxes: one (R, 4) an image.

        Returns:
            `loss_cls` and `loss_box_reg`, scalars.
        """
        if pred_logits is None:
            return super().losses(anchors)
        labels_NR, is_positive, normalizer = self._find_objects(gt_labels)
        box_loss = _dense_box_regression_loss(
            anchors,
            self.box2box_transform,
            pred_anchor_deltas,
            gt_boxes,
            is_positive,
            box_reg_loss_type=self.box_harmony or self.box_reg_loss_type,
            smooth_l1_beta=self.smooth_l1_beta,
        )
        if self.class_harmony is None:
            class_loss = self._focal_loss(pred_logits, labels_NR) / normalizer
        else:
            logits_NRC, target = self._class_targets(pred_logits, labels_NR)
            is_counted = (labels_NR >= 0)[..., None].expand_as(target)
            class_loss = self.class_harmony(logits_NRC, target, is_counted)
        if self.box_harmony is None:
            box_loss = box_loss / normalizer
        if self.box_reg_loss_weight != 1:
            box_loss = box_loss * self.box_reg_loss_weight
        return {"loss_cls": class_loss, "loss_box_reg": box_loss}

    @torch.no_grad()
    def label_anchors(
        self, anchors: list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Say of each anchor which class and box it should give.

        Args:
            anchors: of each level.
            gt_instances: of each image, with `gt_boxes` and `gt_classes`.

        Returns:
            for each image (R,) int64: the class, C for background, -1 to ignore; and (R, 4)
            float, the box (arbitrary for background).
        """
        everything = Boxes.cat(anchors)
        of_images = [self._label_image(everything, gt) for gt in gt_instances]
        return [labels for labels, _ in of_images], [boxes for _, boxes in of_images]

    def _label_image(self, anchors: Boxes, gt: Instances) -> tuple[Tensor, Tensor]:
        matched, labels = match_anchors(self.anchor_matcher, pairwise_iou, gt.gt_boxes, anchors)
        is_ignored = labels == -1
        if len(gt) == 0:
            background = torch.full_like(matched, self.num_classes)
            return background.masked_fill(is_ignored, -1), anchors.tensor
        classes = gt.gt_classes[matched].masked_fill(labels == 0, self.num_classes)
        return classes.masked_fill(is_ignored, -1), gt.gt_boxes.tensor[matched]

    def _scores_and_deltas(
        self, predictions: Sequence[list[Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        logits, deltas = self._transpose_dense_predictions(predictions, [self.num_classes, 4])
        return [x.sigmoid() for x in logits], deltas
