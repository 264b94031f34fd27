"""RPN: score anchors, choose proposals.

N images, L levels, A anchors a cell, Hi x Wi cells of level i, Ri = Hi * Wi * A, R their sum,
D numbers a box.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.layers import ShapeSpec, cat
from d2lite.structures import Boxes, ImageList, Instances, pairwise_iou
from d2lite.utils.errors import ArgumentError
from d2lite.utils.events import log_scalars
from d2lite.utils.keyed_rng import DrawPurpose, image_generator

from ..anchor_generator import build_anchor_generator
from ..backbone.backbone import check_maps
from ..box_regression import Box2BoxTransform, _dense_box_regression_loss
from ..dense_predictions import permute_to_N_HWA_K
from ..loss_weights import weighted, weights_by_name
from ..matcher import Matcher, match_anchors
from ..padded import propose_padded, top_padded
from ..sampling import subsample_labels
from .build import PROPOSAL_GENERATOR_REGISTRY, RPN_HEAD_REGISTRY, build_rpn_head
from .proposal_utils import choose_proposals, find_top_rpn_proposals, gather_rows, top_scores
from .rpn_head import StandardRPNHead

__all__ = ["RPN", "RPN_HEAD_REGISTRY", "StandardRPNHead", "build_rpn_head"]


@PROPOSAL_GENERATOR_REGISTRY.register()
class RPN(nn.Module):
    """Region proposal network.

    Args:
        in_features: the feature maps to use, by name.
        head: maps -> objectness logits and deltas of each.
        anchor_generator: maps -> anchors of each.
        anchor_matcher: labels anchors by their IoU with ground truth.
        box2box_transform: deltas <-> boxes.
        batch_size_per_image: anchors drawn for the loss.
        positive_fraction: the share of them that may be foreground.
        pre_nms_topk: predictions of each level kept before NMS, (in training, in inference).
        post_nms_topk: proposals of an image, (in training, in inference).
        nms_thresh: IoU above which proposals suppress each other.
        min_box_size: pixels; smaller proposals are dropped.
        anchor_boundary_thresh: ignore anchors that reach over the image by more pixels; below 0:
            ignore none.
        loss_weight: one factor, or one for each loss by name.
        box_reg_loss_type: see `box_regression_loss`.
        smooth_l1_beta: where smooth L1 turns linear.

    Source: Ren 2015, arXiv:1506.01497.
    """

    # The image of the batch that draws are made for.
    _image: int | None = None

    @configurable
    def __init__(
        self,
        *,
        in_features: list[str],
        head: nn.Module,
        anchor_generator: nn.Module,
        anchor_matcher: Matcher,
        box2box_transform: Box2BoxTransform,
        batch_size_per_image: int,
        positive_fraction: float,
        pre_nms_topk: tuple[float, float],
        post_nms_topk: tuple[float, float],
        nms_thresh: float = 0.7,
        min_box_size: float = 0.0,
        anchor_boundary_thresh: float = -1.0,
        loss_weight: float | dict[str, float] = 1.0,
        box_reg_loss_type: str = "smooth_l1",
        smooth_l1_beta: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.rpn_head = head
        self.anchor_generator: Any = anchor_generator
        self.anchor_matcher = anchor_matcher
        self.box2box_transform = box2box_transform
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction
        self.pre_nms_topk = {True: pre_nms_topk[0], False: pre_nms_topk[1]}
        self.post_nms_topk = {True: post_nms_topk[0], False: post_nms_topk[1]}
        self.nms_thresh = nms_thresh
        self.min_box_size = float(min_box_size)
        self.anchor_boundary_thresh = anchor_boundary_thresh
        self.loss_weight = weights_by_name(loss_weight, "loss_rpn_cls", "loss_rpn_loc")
        self.box_reg_loss_type = box_reg_loss_type
        self.smooth_l1_beta = smooth_l1_beta

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, object]:
        """Arguments from `MODEL.RPN`, `MODEL.ANCHOR_GENERATOR` and the feature maps."""
        node = cfg.MODEL.RPN
        check_maps("the backbone", node.IN_FEATURES, list(input_shape), "MODEL.RPN.IN_FEATURES")
        shapes = [input_shape[name] for name in node.IN_FEATURES]
        return {
            "in_features": node.IN_FEATURES,
            "head": build_rpn_head(cfg, shapes),
            "anchor_generator": build_anchor_generator(cfg, shapes),
            "anchor_matcher": Matcher(
                node.IOU_THRESHOLDS, node.IOU_LABELS, allow_low_quality_matches=True
            ),
            "box2box_transform": Box2BoxTransform(weights=node.BBOX_REG_WEIGHTS),
            "batch_size_per_image": node.BATCH_SIZE_PER_IMAGE,
            "positive_fraction": node.POSITIVE_FRACTION,
            "pre_nms_topk": (node.PRE_NMS_TOPK_TRAIN, node.PRE_NMS_TOPK_TEST),
            "post_nms_topk": (node.POST_NMS_TOPK_TRAIN, node.POST_NMS_TOPK_TEST),
            "nms_thresh": node.NMS_THRESH,
            "min_box_size": cfg.MODEL.PROPOSAL_GENERATOR.MIN_SIZE,
            "anchor_boundary_thresh": node.BOUNDARY_THRESH,
            "loss_weight": {
                "loss_rpn_cls": node.LOSS_WEIGHT,
                "loss_rpn_loc": node.BBOX_REG_LOSS_WEIGHT * node.LOSS_WEIGHT,
            },
            "box_reg_loss_type": node.BBOX_REG_LOSS_TYPE,
            "smooth_l1_beta": node.SMOOTH_L1_BETA,
        }

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        gt_instances: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Propose, and in training compare with the truth.

        Args:
            images: the batch, of which the sizes count.
            features: maps by name, each (N, C, Hi, Wi).
            gt_instances: of each image, with `gt_boxes`; needed in training.

        Returns:
            proposals of each image (`proposal_boxes`, `objectness_logits`), without gradient; the
            losses `loss_rpn_cls` and `loss_rpn_loc` in training, else {}.
        """
        anchors, logits, deltas = self._run_head(features)
        losses = {}
        if self.training:
            if gt_instances is None:
                raise ArgumentError(
                    "In training the RPN needs gt_instances. Call model.eval() to predict without."
                )
            gt_labels, gt_boxes = self.label_and_sample_anchors(anchors, gt_instances)
            losses = self.losses(anchors, logits, gt_labels, deltas, gt_boxes)
        proposals = self.predict_proposals(anchors, logits, deltas, images.image_sizes)
        return proposals, losses

    def _run_head(
        self, features: dict[str, Tensor]
    ) -> tuple[list[Boxes], list[Tensor], list[Tensor]]:
        """Anchors, (N, Ri) logits and (N, Ri, D) deltas of each level."""
        maps = [features[name] for name in self.in_features]
        anchors = self.anchor_generator(maps)
        logits, deltas = self.rpn_head(maps)
        logits = [permute_to_N_HWA_K(x, 1).flatten(1) for x in logits]
        deltas = [permute_to_N_HWA_K(x, self.anchor_generator.box_dim) for x in deltas]
        return anchors, logits, deltas

    def predict_padded(self, features: dict[str, Tensor], sizes: Tensor) -> tuple[Tensor, ...]:
        """Propose in the fixed-size form, see `propose_padded`.

        Args:
            features: maps by name.
            sizes: (N, 2) height and width of each image.
        """
        logits, boxes = self._decode_best(*self._run_head(features), top_padded)
        most = int(self.post_nms_topk[False])
        return propose_padded(boxes, logits, sizes, self.nms_thresh, most, self.min_box_size)

    @torch.no_grad()
    def label_and_sample_anchors(
        self, anchors: list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Label each anchor, and give it the box that it should predict.

        Args:
            anchors: of each level.
            gt_instances: of each image, with `gt_boxes`.

        Returns:
            for each image (R,) int8: 1 foreground, 0 background, -1 not drawn or undecided; and
            (R, D) float, the box it should give (arbitrary where it is not foreground).
        """
        everything = type(anchors[0]).cat(anchors)
        of_images = [self._label_image(everything, *image) for image in enumerate(gt_instances)]
        return [labels for labels, _ in of_images], [boxes for _, boxes in of_images]

    def _label_image(self, anchors: Boxes, number: int, gt: Instances) -> tuple[Tensor, Tensor]:
        matched, labels = match_anchors(
            self.anchor_matcher, self._match_quality, gt.gt_boxes, anchors
        )
        if self.anchor_boundary_thresh >= 0:
            inside = anchors.inside_box(gt.image_size, self.anchor_boundary_thresh)
            labels = labels.masked_fill(~inside, -1)
        self._image = number
        drawn = self._subsample_labels(labels)
        self._image = None
        return drawn, gt.gt_boxes.tensor[matched] if len(gt.gt_boxes) else anchors.tensor

    def _match_quality(self, gt_boxes: Boxes, anchors: Boxes) -> Tensor:
        """(M, R) float."""
        return pairwise_iou(gt_boxes, anchors)

    def _subsample_labels(self, label: Tensor) -> Tensor:
        """Draw the anchors of one image that the losses count; a subclass may draw others.

        Args:
            label: (R,) int8: 1 foreground, 0 background, -1 undecided.

        Returns:
            (R,) int8: the labels of the drawn anchors, -1 for all others.
        """
        positives, negatives = subsample_labels(
            label,
            self.batch_size_per_image,
            self.positive_fraction,
            0,
            generator=image_generator(self._image, DrawPurpose.RPN_SAMPLING, label.device),
        )
        return torch.full_like(label, -1).index_fill_(0, positives, 1).index_fill_(0, negatives, 0)

    def losses(
        self,
        anchors: list[Boxes],
        pred_objectness_logits: list[Tensor],
        gt_labels: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        gt_boxes: list[Tensor],
    ) -> dict[str, Tensor]:
        """Compare predictions with what the drawn anchors should give.

        Args:
            anchors: of each level.
            pred_objectness_logits: one (N, Ri) a level.
            gt_labels: one (R,) an image, as `label_and_sample_anchors` returns them.
            pred_anchor_deltas: one (N, Ri, D) a level.
            gt_boxes: one (R, D) an image.

        Returns:
            `loss_rpn_cls` and `loss_rpn_loc`, scalars.
        """
        labels = torch.stack(gt_labels)
        of_kind = {"pos": labels == 1, "neg": labels == 0}
        means = {kind: chosen.sum() / len(labels) for kind, chosen in of_kind.items()}
        log_scalars({f"rpn/num_{kind}_anchors": mean for kind, mean in means.items()})
        box_loss = _dense_box_regression_loss(
            anchors,
            self.box2box_transform,
            pred_anchor_deltas,
            gt_boxes,
            of_kind["pos"],
            box_reg_loss_type=self.box_reg_loss_type,
            smooth_l1_beta=self.smooth_l1_beta,
        )
        drawn = labels >= 0
        logits = cat(pred_objectness_logits, dim=1)[drawn].float()
        score_loss = F.binary_cross_entropy_with_logits(
            logits, labels[drawn].to(logits.dtype), reduction="sum"
        )
        # The number that should be drawn, not the number that was: an image with few candidates
        # counts less. Empty sums are 0, with a gradient.
        normalizer = self.batch_size_per_image * len(labels)
        losses = {
            "loss_rpn_cls": score_loss / normalizer,
            "loss_rpn_loc": box_loss / normalizer,
        }
        return weighted(losses, self.loss_weight)

    @torch.no_grad()
    def predict_proposals(
        self,
        anchors: list[Boxes],
        pred_objectness_logits: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        image_sizes: list[tuple[int, int]],
    ) -> list[Instances]:
        """Decode the best predictions and choose among them.

        Nothing here has a gradient: the loss of later stages does not reach the RPN's boxes.

        Args:
            anchors: of each level.
            pred_objectness_logits: one (N, Ri) a level.
            pred_anchor_deltas: one (N, Ri, D) a level.
            image_sizes: (height, width) of each image.

        Returns:
            `proposal_boxes` and `objectness_logits` of each image, best first.
        """
        kept, training = int(self.post_nms_topk[self.training]), self.training
        if type(self)._decode_proposals is not RPN._decode_proposals:
            # A subclass decodes in a way of its own, all anchors at a time.
            return find_top_rpn_proposals(
                self._decode_proposals(anchors, pred_anchor_deltas),
                pred_objectness_logits,
                image_sizes,
                self.nms_thresh,
                int(self.pre_nms_topk[self.training]),
                kept,
                self.min_box_size,
                training,
            )
        logits, boxes = self._decode_best(anchors, pred_objectness_logits, pred_anchor_deltas)
        return choose_proposals(
            boxes, logits, image_sizes, self.nms_thresh, kept, self.min_box_size, training
        )

    def _decode_best(
        self,
        anchors: list[Boxes],
        logits: list[Tensor],
        deltas: list[Tensor],
        top: Callable[[Tensor, int], tuple[Tensor, Tensor]] = top_scores,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Logits and boxes of the best anchors of each level; the rest need no decoding."""
        best_logits, best_deltas, best_anchors = [], [], []
        for level, logits_NR, deltas_NRD in zip(anchors, logits, deltas, strict=True):
            scores, position = top(logits_NR, int(self.pre_nms_topk[self.training]))
            best_logits.append(scores)
            best_deltas.append(gather_rows(deltas_NRD, position))
            best_anchors.append(level.tensor[position])
        # All levels in one go: there are some twenty operators in it.
        chosen = torch.cat(best_deltas, dim=1)
        boxes = self.box2box_transform.apply_deltas(
            chosen.flatten(0, 1), torch.cat(best_anchors, dim=1).flatten(0, 1)
        )
        sizes = [scores.shape[1] for scores in best_logits]
        return best_logits, list(boxes.reshape(chosen.shape).split(sizes, dim=1))

    def _decode_proposals(
        self, anchors: list[Boxes], pred_anchor_deltas: list[Tensor]
    ) -> list[Tensor]:
        """Boxes of all anchors, one (N, Ri, B) a level; for code that reads them."""
        return [
            self.box2box_transform.apply_deltas(
                deltas.flatten(0, 1), level.tensor.repeat(len(deltas), 1)
            ).unflatten(0, deltas.shape[:2])
            for level, deltas in zip(anchors, pred_anchor_deltas, strict=True)
        ]
