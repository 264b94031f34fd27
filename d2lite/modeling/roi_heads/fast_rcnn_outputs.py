"""FastRCNNOutputs: predictions and labels of a batch as one object, as old code has it.

R regions of all images, K classes; class K is the background; D numbers a box.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from d2lite.layers import cat, cross_entropy
from d2lite.structures import Instances, split_rows

from ..box_regression import box_regression_loss
from .fast_rcnn_inference import fast_rcnn_inference
from .label_proposals import joined_targets


def foreground_box_loss(
    layers: Any, proposal_boxes: Tensor, gt_boxes: Tensor, pred_deltas: Tensor, gt_classes: Tensor
) -> Tensor:
    """Loss of the foreground's boxes, summed, over the number of all regions.

    Args:
        layers: with num_classes, box2box_transform, box_reg_loss_type and smooth_l1_beta.
        proposal_boxes: (R, D).
        gt_boxes: (R, D).
        pred_deltas: (R, K * D) or (R, D).
        gt_classes: (R,) in [0, K].
    """
    size = proposal_boxes.shape[1]
    is_foreground = (gt_classes >= 0) & (gt_classes < layers.num_classes)
    region = is_foreground.nonzero()[:, 0]
    deltas_RCD = pred_deltas.reshape(len(pred_deltas), pred_deltas.shape[1] // size, size)
    column = gt_classes[region] if deltas_RCD.shape[1] > 1 else region * 0
    loss = box_regression_loss(
        proposal_boxes[region],
        layers.box2box_transform,
        deltas_RCD[region, column],
        gt_boxes[region],
        layers.box_reg_loss_type,
        layers.smooth_l1_beta,
    )
    return loss / max(gt_classes.numel(), 1)


def moved_boxes(
    transform: Any, deltas: Tensor, proposals: Sequence[Instances]
) -> tuple[Tensor, ...]:
    """What (R, K * D) or (R, D) deltas make of the proposals of each image; as many columns."""
    if not proposals:
        return ()
    boxes = cat([found.proposal_boxes.tensor for found in proposals])
    return split_rows(transform.apply_deltas(deltas, boxes), proposals)


class FastRCNNOutputs:
    """What detectron2 up to 0.5 made of the predictions of a batch; teacher-student code has it.

    Args:
        box2box_transform: deltas <-> boxes.
        pred_class_logits: (R, K + 1).
        pred_proposal_deltas: (R, K * D) or (R, D).
        proposals: of each image, with proposal_boxes and, for the losses, gt_boxes and gt_classes.
        smooth_l1_beta: where smooth L1 turns linear.
        box_reg_loss_type: see `box_regression_loss`.
    """

    def __init__(
        self,
        box2box_transform: Any,
        pred_class_logits: Tensor,
        pred_proposal_deltas: Tensor,
        proposals: Sequence[Instances],
        smooth_l1_beta: float = 0.0,
        box_reg_loss_type: str = "smooth_l1",
    ) -> None:
        self.box2box_transform = box2box_transform
        self.pred_class_logits = pred_class_logits
        self.pred_proposal_deltas = pred_proposal_deltas
        self.smooth_l1_beta = smooth_l1_beta
        self.box_reg_loss_type = box_reg_loss_type
        self.num_classes = pred_class_logits.shape[1] - 1
        self.num_preds_per_image = [len(found) for found in proposals]
        self.image_shapes = [found.image_size for found in proposals]
        self._instances = proposals
        self._no_instances = sum(self.num_preds_per_image) == 0
        if proposals:
            self.proposals = type(proposals[0].proposal_boxes).cat(
                [found.proposal_boxes for found in proposals]
            )
        if proposals and proposals[0].has("gt_classes"):
            _, gt_boxes, self.gt_classes = joined_targets(proposals)
            self.gt_boxes = type(self.proposals)(gt_boxes)

    def softmax_cross_entropy_loss(self) -> Tensor:
        """Mean over regions; zero with a gradient without any."""
        if self._no_instances:
            return self.pred_class_logits.sum() * 0.0
        return cross_entropy(self.pred_class_logits, self.gt_classes, reduction="mean")

    def box_reg_loss(self) -> Tensor:
        """See `foreground_box_loss`; zero with a gradient without regions."""
        if self._no_instances:
            return self.pred_proposal_deltas.sum() * 0.0
        boxes, truth = self.proposals.tensor, self.gt_boxes.tensor
        return foreground_box_loss(self, boxes, truth, self.pred_proposal_deltas, self.gt_classes)

    def losses(self) -> dict[str, Tensor]:
        """Both losses, as "loss_cls" and "loss_box_reg"."""
        return {"loss_cls": self.softmax_cross_entropy_loss(), "loss_box_reg": self.box_reg_loss()}

    def predict_boxes(self) -> tuple[Tensor, ...]:
        """The boxes of each image: (Ri, K * D) or (Ri, D)."""
        return moved_boxes(self.box2box_transform, self.pred_proposal_deltas, self._instances)

    def predict_probs(self) -> tuple[Tensor, ...]:
        """The probabilities of each image: (Ri, K + 1), the background last."""
        return split_rows(self.pred_class_logits.softmax(dim=-1), self._instances)

    def inference(
        self, score_thresh: float, nms_thresh: float, topk_per_image: int
    ) -> tuple[list[Instances], list[Tensor]]:
        """Detections of each image; arguments as those of `fast_rcnn_inference`."""
        limits = (score_thresh, nms_thresh, topk_per_image)
        boxes, probs = self.predict_boxes(), self.predict_probs()
        return fast_rcnn_inference(boxes, probs, self.image_shapes, *limits)
