"""FastRCNNOutputLayers: the class and the box of each region, and their losses.

R regions of all images, K classes; class K is the background; D numbers a box.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.layers import CosineLinear, ShapeSpec, SoftNMS, cross_entropy
from d2lite.structures import Boxes, Instances, split_rows
from d2lite.utils.errors import ConfigError, MissingFileError
from d2lite.utils.events import has_event_storage, log_scalars
from d2lite.utils.process_means import mean_weight

from ..box_regression import Box2BoxTransform
from ..keep_best import refuse_soft, soft_nms_arguments
from ..loss_weights import weighted, weights_by_name
from ..padded import PaddedBoxes, region_detections
from ..weight_init import normal_fill, prior_fill
from .class_losses import ClassLoss, build_class_loss
from .fast_rcnn_inference import fast_rcnn_inference, fast_rcnn_inference_single_image
from .fast_rcnn_outputs import FastRCNNOutputs, foreground_box_loss, moved_boxes
from .label_proposals import joined_targets
from .prime_samples import check_exponents, ranked_class_loss

__all__ = [
    "FastRCNNOutputLayers",
    "FastRCNNOutputs",
    "fast_rcnn_inference",
    "fast_rcnn_inference_single_image",
]

# With a sigmoid for each class, the score of every class at the start of training.
_PRIOR_PROBABILITY = 0.01

Predictions = tuple[Tensor, Tensor]


class FastRCNNOutputLayers(nn.Module):
    """Two linear layers: class scores (R, K + 1) and box deltas (R, K * D) or (R, D).

    Args:
        input_shape: of one region's features; an int for that many channels.
        box2box_transform: deltas <-> boxes.
        num_classes: K.
        test_score_thresh: see `fast_rcnn_inference`.
        test_nms_thresh: see `fast_rcnn_inference`.
        test_topk_per_image: see `fast_rcnn_inference`.
        cls_agnostic_bbox_reg: one box for all classes.
        smooth_l1_beta: where smooth L1 turns linear.
        box_reg_loss_type: see `box_regression_loss`.
        loss_weight: one factor, or {"loss_cls": ..., "loss_box_reg": ...}.
        use_fed_loss: count the sigmoid loss of a few classes only, those present and some others
            drawn for each step (for long-tailed data, where absence is not certain).
        use_sigmoid_ce: a sigmoid for each class in place of one softmax.
        get_fed_loss_cls_weights: gives (K,) weights for the drawing; without it, they have to be
            handed to `set_fed_loss_cls_weights` before training. Its weights are saved with the
            model. Where it misses the file that it counts in, weights are 0 until a checkpoint
            brings them or the first loss asks again: inference needs no annotations.
        fed_loss_num_classes: how many classes count.
        soft_nms: see `fast_rcnn_inference`.
        class_loss: in place of cross-entropy.
        cosine_scale: above 0, scores of classes are cosines times this; see `CosineLinear`.
        rank_exponents: of the weights of objects and of background in the loss of classes; see
            `ranked_class_loss`. Both 0 for equal weights.

    Raises:
        ConfigError: if the federated loss is asked for without the sigmoid, or with `class_loss`;
            for other exponents than two of at least 0, or exponents with either of these losses.
    """

    # What the deltas make of proposals: `Boxes`, or `RotatedBoxes` in a subclass.
    _box_class: type[Boxes] = Boxes

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        box2box_transform: Any,
        num_classes: int,
        test_score_thresh: float = 0.0,
        test_nms_thresh: float = 0.5,
        test_topk_per_image: int = 100,
        cls_agnostic_bbox_reg: bool = False,
        smooth_l1_beta: float = 0.0,
        box_reg_loss_type: str = "smooth_l1",
        loss_weight: float | dict[str, float] = 1.0,
        use_fed_loss: bool = False,
        use_sigmoid_ce: bool = False,
        get_fed_loss_cls_weights: Callable[[], Tensor] | None = None,
        fed_loss_num_classes: int = 50,
        soft_nms: SoftNMS | None = None,
        class_loss: ClassLoss | None = None,
        cosine_scale: float = 0.0,
        rank_exponents: Sequence[float] = (0.0, 0.0),
    ) -> None:
        super().__init__()
        check_exponents(rank_exponents, is_entropy=class_loss is None and not use_fed_loss)
        _check_losses(class_loss, use_fed_loss=use_fed_loss, use_sigmoid_ce=use_sigmoid_ce)
        if isinstance(input_shape, int):
            input_shape = ShapeSpec(channels=input_shape)
        size = input_shape.channels * (input_shape.height or 1) * (input_shape.width or 1)
        self.num_classes = num_classes
        num_extra = 1 if class_loss is None else class_loss.num_extra
        num_scores = num_classes + num_extra
        self.cls_score = (
            CosineLinear(size, num_scores, cosine_scale)
            if cosine_scale
            else nn.Linear(size, num_scores)
        )
        num_boxes = 1 if cls_agnostic_bbox_reg else num_classes
        self.bbox_pred = nn.Linear(size, num_boxes * len(box2box_transform.weights))
        # Box deltas are small numbers; smaller weights keep the first losses small.
        normal_fill(self.cls_score, std=0.01)
        normal_fill(self.bbox_pred, std=0.001)
        if use_sigmoid_ce or (class_loss is not None and class_loss.is_sigmoid):
            prior_fill(self.cls_score, _PRIOR_PROBABILITY)
        self.box2box_transform = box2box_transform
        self.smooth_l1_beta = smooth_l1_beta
        self.box_reg_loss_type = box_reg_loss_type
        self.test_score_thresh = test_score_thresh
        self.test_nms_thresh = test_nms_thresh
        self.test_topk_per_image = test_topk_per_image
        self.soft_nms = soft_nms
        self.class_loss = class_loss
        self.rank_exponents = tuple(rank_exponents)
        self.loss_weight = weights_by_name(loss_weight, "loss_cls", "loss_box_reg")
        self.use_fed_loss = use_fed_loss
        self.use_sigmoid_ce = use_sigmoid_ce
        self.fed_loss_num_classes = fed_loss_num_classes
        self._start_federated_loss(get_fed_loss_cls_weights if use_fed_loss else None)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Arguments from `MODEL.ROI_BOX_HEAD`, `MODEL.ROI_HEADS` and `TEST`."""
        node = cfg.MODEL.ROI_BOX_HEAD
        num_classes = cfg.MODEL.ROI_HEADS.NUM_CLASSES
        # Predictors in users' code may lack the arguments.
        more: dict[str, Any] = {}
        if node.CLASS_LOSS:
            more["class_loss"] = build_class_loss(node.CLASS_LOSS, num_classes)
        if node.COSINE_SCALE:
            more["cosine_scale"] = node.COSINE_SCALE
        if tuple(node.RANK_EXPONENTS) != (0.0, 0.0):
            more["rank_exponents"] = node.RANK_EXPONENTS
        return {
            "input_shape": input_shape,
            "box2box_transform": Box2BoxTransform(weights=node.BBOX_REG_WEIGHTS),
            "num_classes": num_classes,
            "cls_agnostic_bbox_reg": node.CLS_AGNOSTIC_BBOX_REG,
            "smooth_l1_beta": node.SMOOTH_L1_BETA,
            "test_score_thresh": cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST,
            "test_nms_thresh": cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST,
            "test_topk_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
            "box_reg_loss_type": node.BBOX_REG_LOSS_TYPE,
            "loss_weight": {"loss_box_reg": node.BBOX_REG_LOSS_WEIGHT},
            "use_fed_loss": node.USE_FED_LOSS,
            "use_sigmoid_ce": node.USE_SIGMOID_CE,
            "fed_loss_num_classes": node.FED_LOSS_NUM_CLASSES,
            **soft_nms_arguments(cfg),
            **more,
        }

    def _start_federated_loss(self, get_weights: Callable[[], Tensor] | None) -> None:
        self.register_buffer("fed_loss_cls_weights", None, persistent=False)
        self._get_fed_loss_cls_weights = None
        if get_weights is not None:
            self.register_buffer("fed_loss_cls_weights", torch.zeros(self.num_classes))
            try:
                self.set_fed_loss_cls_weights(get_weights())
            except MissingFileError:
                self._get_fed_loss_cls_weights = get_weights

    def set_fed_loss_cls_weights(self, weights: Tensor) -> None:
        """Set the chances with which the federated loss draws classes.

        Args:
            weights: (K,) >= 0, usually a power of how many images have the class.

        Raises:
            ConfigError: for another number of classes.
        """
        if len(weights) != self.num_classes:
            raise ConfigError(
                f"{len(weights)} weights for the federated loss, but the model has "
                f"{self.num_classes} classes (MODEL.ROI_HEADS.NUM_CLASSES)."
            )
        self.fed_loss_cls_weights = weights.to(self.cls_score.weight.device)

    def forward(self, x: Tensor) -> Predictions:
        """Score and regress.

        Args:
            x: (R, ...) features of the regions, flattened here.

        Returns:
            (R, K + 1) class scores and (R, K * D) or (R, D) box deltas.
        """
        x = x.flatten(start_dim=1)
        return self.cls_score(x), self.bbox_pred(x)

    def losses(self, predictions: Predictions, proposals: Sequence[Instances]) -> dict[str, Tensor]:
        """Losses of the labelled proposals.

        Args:
            predictions: what `forward` gave for the proposals of all images.
            proposals: of each image, with proposal_boxes, gt_boxes and gt_classes.

        Returns:
            "loss_cls" and "loss_box_reg", zero with a gradient without proposals.
        """
        scores, deltas = predictions
        if proposals:
            proposal_boxes, gt_boxes, gt_classes = joined_targets(proposals)
        else:
            proposal_boxes = gt_boxes = deltas.new_zeros((0, len(self.box2box_transform.weights)))
            gt_classes = deltas.new_zeros((0,), dtype=torch.int64)
        shown = scores if self.class_loss is None else self._probs(scores.detach())
        _log_classification_stats(shown, gt_classes)
        if self.class_loss is not None:
            loss_cls = self.class_loss(scores.float(), gt_classes)
        elif any(self.rank_exponents) and len(gt_classes):
            loss_cls = ranked_class_loss(
                self, predictions, proposals, gt_classes, self.rank_exponents
            )
        elif self.use_sigmoid_ce:
            loss_cls = self.sigmoid_cross_entropy_loss(scores, gt_classes)
        else:
            loss_cls = cross_entropy(scores, gt_classes, reduction="mean")
        losses = {
            "loss_cls": loss_cls,
            "loss_box_reg": self.box_reg_loss(proposal_boxes, gt_boxes, deltas, gt_classes),
        }
        share = mean_weight(len(gt_classes), scores)
        return {name: loss * share for name, loss in weighted(losses, self.loss_weight).items()}

    def losses_of_classes(self, scores: Tensor, gt_classes: Tensor) -> Tensor:
        """(R,) how wrong the classes of regions are: -log of the probability of the true one.

        Args:
            scores: as `forward` gives them.
            gt_classes: (R,) in [0, K].
        """
        scores = scores.float()
        if self.use_sigmoid_ce:
            return self._sigmoid_losses(scores, gt_classes).sum(dim=1)
        if self.class_loss is None:
            return F.cross_entropy(scores, gt_classes, reduction="none")
        probs = self._probs(scores)
        return -probs.gather(1, gt_classes[:, None]).squeeze(1).clamp(min=1e-12).log()

    def sigmoid_cross_entropy_loss(self, pred_class_logits: Tensor, gt_classes: Tensor) -> Tensor:
        """Binary cross entropy of every class, summed over classes, mean over regions.

        Args:
            pred_class_logits: (R, K + 1); the last column is not used.
            gt_classes: (R,) in [0, K].
        """
        num_regions = len(pred_class_logits)
        if num_regions == 0:
            return pred_class_logits.sum() * 0.0
        loss = self._sigmoid_losses(pred_class_logits, gt_classes)
        if self.use_fed_loss:
            self._ask_for_fed_loss_cls_weights_again()
            if self.fed_loss_cls_weights is None:
                raise ConfigError(
                    "MODEL.ROI_BOX_HEAD.USE_FED_LOSS needs how often each class occurs in the "
                    "training data: call set_fed_loss_cls_weights of the box predictor."
                )
            counted = self.get_fed_loss_classes(
                gt_classes, self.fed_loss_num_classes, self.num_classes, self.fed_loss_cls_weights
            )
            is_counted = torch.zeros(self.num_classes + 1, device=loss.device, dtype=loss.dtype)
            is_counted[counted] = 1
            loss = loss * is_counted[:-1]
        return loss.sum() / num_regions

    def _sigmoid_losses(self, scores: Tensor, gt_classes: Tensor) -> Tensor:
        """(R, K): background is the lack of all classes, and its own column is not used."""
        target = F.one_hot(gt_classes, self.num_classes + 1)[:, :-1]
        logits = scores[:, :-1]
        return F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none")

    def _ask_for_fed_loss_cls_weights_again(self) -> None:
        if self._get_fed_loss_cls_weights is None:
            return
        if not self.fed_loss_cls_weights.any():
            self.set_fed_loss_cls_weights(self._get_fed_loss_cls_weights())
        # Once: the look at the weights waits for the device.
        self._get_fed_loss_cls_weights = None

    def get_fed_loss_classes(
        self,
        gt_classes: Tensor,
        num_fed_loss_classes: int,
        num_classes: int,
        weight: Tensor | None,
    ) -> Tensor:
        """The classes of this step: all that are present, filled up with drawn ones.

        Args:
            gt_classes: (R,) in [0, K]; background counts as present.
            num_fed_loss_classes: how many there should be in the end.
            num_classes: K.
            weight: (K,) relative chances of the classes; None for equal ones.

        Returns:
            their numbers, the present ones first.

        Source: Zhou 2021, arXiv:2103.07461.
        """
        present = gt_classes.unique()
        if weight is None:
            weight = torch.ones(num_classes)
        weight = weight.to(gt_classes.device, torch.float32)
        # The last place is that of background, which is never drawn.
        chance = F.pad(weight, (0, 1)).index_fill(0, present.long(), 0.0)
        missing = min(num_fed_loss_classes - len(present), int((chance > 0).sum()))
        if missing <= 0:
            return present
        return torch.cat([present, torch.multinomial(chance, missing, replacement=False)])

    def box_reg_loss(
        self, proposal_boxes: Tensor, gt_boxes: Tensor, pred_deltas: Tensor, gt_classes: Tensor
    ) -> Tensor:
        """Loss of the foreground's boxes, summed, over the number of all regions.

        Dividing by all, not by the foreground, gives each foreground region the same weight in
        images with few and with many of them.

        Args:
            proposal_boxes: (R, D).
            gt_boxes: (R, D).
            pred_deltas: (R, K * D) or (R, D).
            gt_classes: (R,) in [0, K].
        """
        return foreground_box_loss(self, proposal_boxes, gt_boxes, pred_deltas, gt_classes)

    def inference(
        self, predictions: Predictions, proposals: Sequence[Instances]
    ) -> tuple[list[Instances], list[Tensor]]:
        """Detections of each image, and the proposal that each comes from.

        Args:
            predictions: what `forward` gave for the proposals of all images.
            proposals: of each image, with proposal_boxes.
        """
        return fast_rcnn_inference(
            self.predict_boxes(predictions, proposals),
            self.predict_probs(predictions, proposals),
            [p.image_size for p in proposals],
            self.test_score_thresh,
            self.test_nms_thresh,
            self.test_topk_per_image,
            box_class=self._box_class,
            soft_nms=self.soft_nms,
        )

    def predict_boxes(
        self, predictions: Predictions, proposals: Sequence[Instances]
    ) -> tuple[Tensor, ...]:
        """The boxes of each image: (Ri, K * D) or (Ri, D)."""
        return moved_boxes(self.box2box_transform, predictions[1], proposals)

    def predict_boxes_for_gt_classes(
        self, predictions: Predictions, proposals: Sequence[Instances]
    ) -> tuple[Tensor, ...]:
        """The box of each proposal's true class, (Ri, D) of each image; any box for background."""
        boxes = self.predict_boxes(predictions, proposals)
        size = len(self.box2box_transform.weights)
        chosen = []
        for boxes_per_image, proposal in zip(boxes, proposals, strict=True):
            num_boxes = boxes_per_image.shape[1] // size
            boxes_RCD = boxes_per_image.reshape(len(proposal), num_boxes, size)
            column = proposal.gt_classes.clamp(0, boxes_RCD.shape[1] - 1)
            chosen.append(boxes_RCD[torch.arange(len(proposal), device=column.device), column])
        return tuple(chosen)

    def predict_probs(
        self, predictions: Predictions, proposals: Sequence[Instances]
    ) -> tuple[Tensor, ...]:
        """The probabilities of each image: (Ri, K + 1), the background last."""
        return split_rows(self._probs(predictions[0]), proposals)

    def _probs(self, scores: Tensor) -> Tensor:
        if self.class_loss is not None:
            return self.class_loss.probs(scores)
        return scores.sigmoid() if self.use_sigmoid_ce else scores.softmax(dim=-1)

    def detect_padded(
        self, boxes: Tensor, probs: Tensor, valid: Tensor, sizes: Tensor
    ) -> PaddedBoxes:
        """Detections in the fixed-size form, by the thresholds of this predictor.

        Args:
            boxes: see `region_detections`.
            probs: likewise.
            valid: likewise.
            sizes: likewise.
        """
        limits = (self.test_score_thresh, self.test_nms_thresh, self.test_topk_per_image)
        refuse_soft(self.soft_nms)
        return region_detections(boxes, probs, valid, sizes, *limits)

    def predict_rows(self, predictions: Predictions, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes and probabilities of proposals of one image or of many.

        Args:
            predictions: what `forward` gave for R proposals.
            boxes: (R, D), the proposals.

        Returns:
            (R, K * D) or (R, D) boxes; (R, K + 1) probabilities, the background last.
        """
        moved = self.box2box_transform.apply_deltas(predictions[1], boxes)
        return moved, self._probs(predictions[0])


def _check_losses(
    class_loss: ClassLoss | None, *, use_fed_loss: bool, use_sigmoid_ce: bool
) -> None:
    if class_loss is not None and (use_fed_loss or use_sigmoid_ce):
        raise ConfigError(
            "MODEL.ROI_BOX_HEAD.CLASS_LOSS is used in place of USE_SIGMOID_CE and "
            "USE_FED_LOSS; set both to False."
        )
    if use_fed_loss and not use_sigmoid_ce:
        raise ConfigError(
            "MODEL.ROI_BOX_HEAD.USE_FED_LOSS needs the sigmoid loss; set USE_SIGMOID_CE too."
        )


@torch.no_grad()
def _log_classification_stats(
    pred_logits: Tensor, gt_classes: Tensor, prefix: str = "fast_rcnn"
) -> None:
    """Report how many regions, and how many foreground regions, are classified right."""
    if not has_event_storage() or gt_classes.numel() == 0:
        return
    background = pred_logits.shape[1] - 1
    pred_classes = pred_logits.argmax(dim=1)
    is_right = pred_classes == gt_classes
    is_foreground = (gt_classes >= 0) & (gt_classes < background)
    # A batch without foreground reports 0 of 1; counting first would wait for the device.
    num_foreground = is_foreground.sum().clamp(min=1)
    is_missed = is_foreground & (pred_classes == background)
    log_scalars(
        {
            f"{prefix}/cls_accuracy": is_right.float().mean(),
            f"{prefix}/fg_cls_accuracy": (is_right & is_foreground).sum() / num_foreground,
            f"{prefix}/false_negative": is_missed.sum() / num_foreground,
        }
    )
