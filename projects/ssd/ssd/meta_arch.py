"""SSD: scores of classes and background, and a box, for every anchor of many maps.

N images, L maps, Ri anchors of map i, R their sum, C classes.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_iou

from d2lite.config import CfgNode, configurable
from d2lite.layers import ShapeSpec, SoftNMS
from d2lite.modeling import META_ARCH_REGISTRY, Backbone
from d2lite.modeling.anchor_generator import build_anchor_generator
from d2lite.modeling.assigning import learners_of
from d2lite.modeling.box_regression import Box2BoxTransform, box_regression_loss
from d2lite.modeling.dense_choice import choice_arguments
from d2lite.modeling.meta_arch.dense_detector import DenseDetector
from d2lite.modeling.meta_arch.detector import common_arguments
from d2lite.modeling.weight_init import glorot_fill, normal_fill
from d2lite.structures import Boxes, ImageList, Instances
from d2lite.utils.events import log_scalars
from d2lite.utils.process_means import mean_over_processes

from .mobilenet import lite_conv, lite_norms
from .targets import hard_negatives, match_anchors


class SSDHead(nn.Module):
    """A convolution of 3 x 3 for the classes of each map, and one for the boxes.

    Args:
        input_shape: of each map.
        num_anchors: of a cell of each map.
        num_classes: C; the background comes after them.
        lite_norm: the norm of separable convolutions in their place; None for whole ones.
    """

    def __init__(
        self,
        input_shape: Sequence[ShapeSpec],
        num_anchors: Sequence[int],
        num_classes: int,
        lite_norm: str | None = None,
    ) -> None:
        super().__init__()

        def output(channels: int, size: int) -> nn.Module:
            if lite_norm is None:
                return nn.Conv2d(channels, size, 3, padding=1)
            return nn.Sequential(
                lite_conv(channels, channels, 3, norm=lite_norms(lite_norm), groups=channels),
                nn.Conv2d(channels, size, 1),
            )

        def outputs(size: int) -> nn.ModuleList:
            return nn.ModuleList(
                output(shape.channels, count * size)
                for shape, count in zip(input_shape, num_anchors, strict=True)
            )

        self.cls_convs, self.reg_convs = outputs(num_classes + 1), outputs(4)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                if lite_norm is None:
                    glorot_fill(layer)
                else:
                    normal_fill(layer, std=0.001)

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """(N, Ai * (C + 1), Hi, Wi) logits and (N, Ai * 4, Hi, Wi) deltas of each map."""
        logits = [layer(x) for layer, x in zip(self.cls_convs, features, strict=True)]
        return logits, [layer(x) for layer, x in zip(self.reg_convs, features, strict=True)]


@META_ARCH_REGISTRY.register()
class SSD(DenseDetector):
    """One-stage detection with a softmax over classes and background.

    Args:
        backbone: images -> feature maps, all of which are used in their order.
        head: maps -> logits and deltas.
        anchor_generator: maps -> anchors of each.
        box2box_transform: deltas <-> boxes.
        num_classes: C.
        iou_threshold: see `match_anchors`.
        negatives_per_positive: see `hard_negatives`.
        smooth_l1_beta: where smooth L1 turns linear.
        test_score_thresh: detections must score higher.
        test_topk_candidates: detections of each map that NMS is given.
        test_nms_thresh: IoU above which detections of a class suppress each other.
        max_detections_per_image: at most so many are returned.
        soft_nms: let scores of overlapping boxes fall, in place of dropping these.
        pixel_mean: of each channel.
        pixel_std: of each channel.
        vis_period: log an image every so many iterations; 0 for never.
        input_format: channel order of the images.

    Source: Liu 2016, arXiv:1512.02325.
    """

    predicts = frozenset({"instances"})

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        head: SSDHead,
        anchor_generator: nn.Module,
        box2box_transform: Box2BoxTransform,
        num_classes: int,
        iou_threshold: float = 0.5,
        negatives_per_positive: int = 3,
        smooth_l1_beta: float = 1.0,
        test_score_thresh: float = 0.02,
        test_topk_candidates: int = 1000,
        test_nms_thresh: float = 0.45,
        max_detections_per_image: int = 200,
        soft_nms: SoftNMS | None = None,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        vis_period: int = 0,
        input_format: str = "BGR",
    ) -> None:
        names = list(backbone.output_shape())
        super().__init__(backbone, head, names, pixel_mean=pixel_mean, pixel_std=pixel_std)
        self.anchor_generator = anchor_generator
        self.box2box_transform = box2box_transform
        self.num_classes = num_classes
        self.iou_threshold = iou_threshold
        self.negatives_per_positive = negatives_per_positive
        self.smooth_l1_beta = smooth_l1_beta
        self.test_score_thresh = test_score_thresh
        self.test_topk_candidates = test_topk_candidates
        self.test_nms_thresh = test_nms_thresh
        self.max_detections_per_image = max_detections_per_image
        self.soft_nms = soft_nms
        self.vis_period = vis_period
        self.input_format = input_format

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL.SSD`, `MODEL.ANCHOR_GENERATOR` and `TEST.DETECTIONS_PER_IMAGE`."""
        node = cfg.MODEL.SSD
        arguments = common_arguments(cfg)
        shapes = list(arguments["backbone"].output_shape().values())
        anchors: Any = build_anchor_generator(cfg, shapes)
        return {
            **arguments,
            "head": SSDHead(
                shapes, anchors.num_anchors, node.NUM_CLASSES, node.NORM if node.LITE else None
            ),
            "anchor_generator": anchors,
            "box2box_transform": Box2BoxTransform(weights=node.BBOX_REG_WEIGHTS),
            "num_classes": node.NUM_CLASSES,
            "iou_threshold": node.IOU_THRESHOLD,
            "negatives_per_positive": node.NEGATIVES_PER_POSITIVE,
            "smooth_l1_beta": node.SMOOTH_L1_BETA,
            **choice_arguments(cfg, node),
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
        """`loss_cls` and `loss_bbox`; arguments as in `DenseDetector`."""
        anchors = Boxes.cat(self.anchor_generator(features)).tensor
        logits, deltas = (torch.cat(levels, dim=1) for levels in self._by_anchor(predictions))
        owner = torch.stack(
            [
                match_anchors(box_iou(gt.gt_boxes.tensor, anchors), self.iou_threshold)
                for gt in gt_instances
            ]
        )
        is_object = owner >= 0
        image, row, boxes, classes = learners_of(owner, gt_instances)
        labels = torch.full_like(owner, self.num_classes)
        labels[image, row] = classes
        losses = F.cross_entropy(logits.float().transpose(1, 2), labels, reduction="none")
        negatives = hard_negatives(losses.detach(), is_object, self.negatives_per_positive)
        box_loss = box_regression_loss(
            anchors[row],
            self.box2box_transform,
            deltas[image, row],
            boxes,
            smooth_l1_beta=self.smooth_l1_beta,
        )
        log_scalars(num_pos_anchors=len(row) / len(gt_instances))
        # An image without objects counts as one with one anchor.
        count = is_object.sum(dim=1).clamp(min=1).sum().float()
        normalizer = mean_over_processes(count)
        return {
            "loss_cls": (losses * (is_object | negatives)).sum() / normalizer,
            # Where no object is, only the empty sum gives these parameters a gradient.
            "loss_bbox": (box_loss + deltas.flatten()[:0].sum()) / normalizer,
        }

    def _by_anchor(self, predictions: Sequence[list[Tensor]]) -> list[list[Tensor]]:
        """(N, Ri, C + 1) logits and (N, Ri, 4) deltas of each map."""
        return self._transpose_dense_predictions(predictions, [self.num_classes + 1, 4])

    def _scores_and_deltas(
        self, predictions: Sequence[list[Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        logits, deltas = self._by_anchor(predictions)
        return [x.float().softmax(dim=2)[..., :-1] for x in logits], deltas
