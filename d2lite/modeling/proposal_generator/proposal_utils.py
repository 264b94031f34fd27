"""Choose the best predictions as proposals, and add ground truth to them.

N images, L levels, Ri anchors of level i, R proposals, D numbers a box.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from d2lite.structures import Boxes, Instances, RotatedBoxes
from d2lite.utils.errors import ArgumentError
from d2lite.utils.tracing import at_most

from ..keep_best import keep_best

__all__ = [
    "add_ground_truth_to_proposals",
    "add_ground_truth_to_proposals_single_image",
    "find_top_rpn_proposals",
]

# The probability of an object that ground truth among the proposals gets.
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
        proposals: one (N, Ri, 4) a level, xyxy in pixels; or (N, Ri, 5) of rotated boxes.
        pred_objectness_logits: one (N, Ri) a level.
        image_sizes: (height, width) of each image without padding; boxes are clipped to it. There
            are results for so many images.
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
    best_logits, best_boxes = [], []
    for boxes, logits in zip(proposals, pred_objectness_logits, strict=True):
        logits, position = top_scores(logits, int(pre_nms_topk))
        best_logits.append(logits)
        best_boxes.append(gather_rows(boxes, position))
    return choose_proposals(
        best_boxes, best_logits, image_sizes, nms_thresh, post_nms_topk, min_box_size, training
    )


def choose_proposals(
    boxes: Sequence[Tensor],
    logits: Sequence[Tensor],
    image_sizes: Sequence[tuple[int, int]],
    nms_thresh: float,
    most: int,
    min_box_size: float,
    training: bool,
) -> list[Instances]:
    """`find_top_rpn_proposals` of boxes that are the best of their level already.

    Args:
        boxes: one (N, K, D) a level.
        logits: one (N, K) a level.
        image_sizes: see `find_top_rpn_proposals`.
        nms_thresh: likewise.
        most: proposals of an image.
        min_box_size: see `find_top_rpn_proposals`.
        training: likewise.
    """
    logits_NR = torch.cat(list(logits), dim=1)
    boxes_NRD = torch.cat(list(boxes), dim=1)
    levels_R = torch.cat(
        [logits_NR.new_full((x.shape[1],), i, dtype=torch.int64) for i, x in enumerate(logits)]
    )
    finite_NR = torch.isfinite(boxes_NRD).all(dim=2) & torch.isfinite(logits_NR)
    if training and not finite_NR.all():
        raise FloatingPointError(
            "The RPN predicted boxes or scores that are infinite or not a number: training has "
            "diverged. Lower SOLVER.BASE_LR, lengthen SOLVER.WARMUP_ITERS or switch on "
            "SOLVER.CLIP_GRADIENTS.ENABLED."
        )
    box_class = RotatedBoxes if boxes_NRD.shape[2] == 5 else Boxes
    results = []
    for boxes_RD, logits_R, finite_R, size in zip(
        boxes_NRD, logits_NR, finite_NR, image_sizes, strict=False
    ):
        # A row that is not finite becomes an empty box, and is dropped as one.
        candidates = box_class(boxes_RD.masked_fill(~finite_R[:, None], 0.0))
        candidates.clip(size)
        good = (finite_R & candidates.nonempty(threshold=min_box_size)).nonzero().flatten()
        kept = good[keep_best(candidates[good], logits_R[good], levels_R[good], nms_thresh, most)]
        results.append(
            Instances(size, proposal_boxes=candidates[kept], objectness_logits=logits_R[kept])
        )
    return results


def top_scores(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` best of each row (all, where there are fewer), best first, and where they are.

    Args:
        scores: (N, R) float.
        count: how many.
    """
    return scores.topk(at_most(count, scores.shape[1]), dim=1)


def gather_rows(values: Tensor, position: Tensor) -> Tensor:
    """Rows of each image: values (N, R, D), position (N, K) -> (N, K, D)."""
    return values.gather(1, position[..., None].expand(-1, -1, values.shape[-1]))


def add_ground_truth_to_proposals(
    gt: Sequence[Instances | Boxes], proposals: Sequence[Instances]
) -> list[Instances]:
    """Add the true boxes of each image to its proposals, so that every object has a good one.

    Args:
        gt: the ground truth of each image, as `Instances` with `gt_boxes` or as boxes.
        proposals: of each image.

    Returns:
        new proposals, of which the last are the true ones. (Only for training.)

    Raises:
        ArgumentError: if the numbers of images differ.
    """
    if len(gt) != len(proposals):
        raise ArgumentError(f"Ground truth of {len(gt)} images, proposals of {len(proposals)}.")
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
        ArgumentError: if `gt` lacks a field that the proposals have.
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
            raise ArgumentError(
                f"The proposals have a field {name!r} that the ground truth lacks; add it to both "
                "or set MODEL.ROI_HEADS.PROPOSAL_APPEND_GT to False."
            )
        truth.set(name, gt.get(name))
    return Instances.cat([proposals, truth])
