"""Choose the best predictions as proposals, and add ground truth to them.

N images, L levels, Ri anchors of level i, R proposals, D numbers a box.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from d2lite.layers import batched_nms
from d2lite.structures import Boxes, Instances, RotatedBoxes

from ..keep_best import Suppression

__all__ = [
    "add_ground_truth_to_proposals",
    "add_ground_truth_to_proposals_single_image",
    "find_top_rpn_proposals",
]

# Sure to be an object: ground truth among the proposals gets this probability.
_SURE = 1.0 - 1e-10


def find_top_rpn_proposals(
    proposals: Sequence[Tensor],
    pred_objectness_logits: Sequence[Tensor],
    image_sizes: Sequence[tuple[int, int]],
    nms_thresh: float,
    pre_nms_topk: int,
    post_nms_topk: int,
    min_box_size: float,
    training: bool,
) -> list[Instances]:
    """Keep the best of each level, suppress overlaps in each level, keep the best of the rest.

    Args:
        proposals: one (N, Ri, 4) a level, xyxy in pixels.
        pred_objectness_logits: one (N, Ri) a level.
        image_sizes: (height, width) of each image without padding; boxes are clipped to it.
        nms_thresh: boxes of a larger IoU suppress each other.
        pre_nms_topk: of each level and image.
        post_nms_topk: of each image.
        min_box_size: pixels; a box must be wider and higher.
        training: whether a non-finite prediction is an error or is dropped.

    Returns:
        for each image `proposal_boxes` and `objectness_logits`, best first.

    Raises:
        FloatingPointError: in training, if a box or a score is not finite.
    """
    return find_top_proposals(
        proposals,
        pred_objectness_logits,
        image_sizes,
        nms=batched_nms,
        nms_thresh=nms_thresh,
        box_class=Boxes,
        pre_nms_topk=pre_nms_topk,
        post_nms_topk=post_nms_topk,
        min_box_size=min_box_size,
        training=training,
    )


def find_top_proposals(
    proposals: Sequence[Tensor],
    logits: Sequence[Tensor],
    image_sizes: Sequence[tuple[int, int]],
    *,
    nms: Suppression,
    nms_thresh: float,
    box_class: type[Boxes] | type[RotatedBoxes],
    pre_nms_topk: int,
    post_nms_topk: int,
    min_box_size: float,
    training: bool,
) -> list[Instances]:
    """`find_top_rpn_proposals` for any kind of boxes.

    Args:
        proposals: one (N, Ri, D) a level.
        logits: one (N, Ri) a level.
        image_sizes: (height, width) of each image.
        nms: suppresses such boxes.
        nms_thresh: see `find_top_rpn_proposals`.
        box_class: of the proposals.
        pre_nms_topk: see `find_top_rpn_proposals`, as the rest.
        post_nms_topk: likewise.
        min_box_size: likewise.
        training: likewise.
    """
    scores_per_level, boxes_per_level, counts = [], [], []
    for boxes, scores in zip(proposals, logits, strict=True):
        scores, position = top_scores(scores, pre_nms_topk)
        scores_per_level.append(scores)
        boxes_per_level.append(gather_rows(boxes, position))
        counts.append(scores.shape[1])
    scores_NR = torch.cat(scores_per_level, dim=1)
    boxes_NRD = torch.cat(boxes_per_level, dim=1)
    levels_R = torch.cat(
        [scores_NR.new_full((count,), i, dtype=torch.int64) for i, count in enumerate(counts)]
    )
    finite_NR = torch.isfinite(boxes_NRD).all(dim=2) & torch.isfinite(scores_NR)
    if training and not finite_NR.all():
        raise FloatingPointError(
            "The RPN predicted boxes or scores that are infinite or not a number: training has "
            "diverged. Lower SOLVER.BASE_LR, lengthen SOLVER.WARMUP_ITERS or switch on "
            "SOLVER.CLIP_GRADIENTS.ENABLED."
        )
    results = []
    for boxes_RD, scores_R, finite_R, size in zip(
        boxes_NRD, scores_NR, finite_NR, image_sizes, strict=True
    ):
        # A row that is not finite becomes an empty box, and goes the way of empty boxes.
        boxes = box_class(boxes_RD.masked_fill(~finite_R[:, None], 0.0))
        boxes.clip(size)
        good = (finite_R & boxes.nonempty(threshold=min_box_size)).nonzero().flatten()
        boxes, scores_R = boxes[good], scores_R[good]
        keep = nms(boxes.tensor, scores_R, levels_R[good], nms_thresh)[:post_nms_topk]
        image = Instances(size)
        image.proposal_boxes = boxes[keep]
        image.objectness_logits = scores_R[keep]
        results.append(image)
    return results


def top_scores(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` best of each row (all, where there are fewer), best first, and where they are.

    Args:
        scores: (N, R) float.
        count: how many.
    """
    return scores.topk(min(int(count), scores.shape[1]), dim=1)


def gather_rows(values: Tensor, position: Tensor) -> Tensor:
    """Rows of each image: values (N, R, D), position (N, K) -> (N, K, D)."""
    return values.gather(1, position[..., None].expand(-1, -1, values.shape[-1]))


def add_ground_truth_to_proposals(
    gt: Sequence[Instances] | Sequence[Boxes], proposals: Sequence[Instances]
) -> list[Instances]:
    """Add the true boxes of each image to its proposals, so that every object has a good one.

    Args:
        gt: the ground truth of each image, as `Instances` with `gt_boxes` or as boxes.
        proposals: of each image.

    Returns:
        new proposals, of which the last are the true ones. (In inference nothing is added: this
        is for training alone.)

    Raises:
        ValueError: if the numbers of images differ.
    """
    if len(gt) != len(proposals):
        raise ValueError(f"Ground truth of {len(gt)} images, proposals of {len(proposals)}.")
    return [
        add_ground_truth_to_proposals_single_image(truth, found)
        for truth, found in zip(gt, proposals, strict=True)
    ]


def add_ground_truth_to_proposals_single_image(
    gt: Instances | Boxes, proposals: Instances
) -> Instances:
    """Add the true boxes of one image to its proposals.

    Args:
        gt: `Instances` with `gt_boxes`, or boxes. Fields of `proposals` beyond boxes and logits
            must be found in it too, under the same name.
        proposals: with `proposal_boxes` and `objectness_logits`.

    Returns:
        new proposals, of which the last are the true ones, with the logit of a sure object.

    Raises:
        ValueError: if `gt` lacks a field that the proposals have.
    """
    boxes = gt.gt_boxes if isinstance(gt, Instances) else gt
    logits = proposals.objectness_logits
    sure = math.log(_SURE / (1 - _SURE))
    truth = Instances(proposals.image_size)
    truth.proposal_boxes = boxes
    truth.objectness_logits = logits.new_full((len(boxes),), sure)
    for name in proposals.get_fields():
        if truth.has(name):
            continue
        if not (isinstance(gt, Instances) and gt.has(name)):
            raise ValueError(
                f"The proposals have a field {name!r} that the ground truth lacks; add it to both "
                "or set MODEL.ROI_HEADS.PROPOSAL_APPEND_GT to False."
            )
        truth.set(name, gt.get(name))
    return Instances.cat([proposals, truth])
