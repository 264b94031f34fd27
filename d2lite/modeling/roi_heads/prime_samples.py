"""Prime samples: which regions decide the result, by hierarchical local ranks (HLR).

R regions of one image or several, K classes; class K is the background.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from d2lite.layers import batched_nms, batched_nms_rotated, cat
from d2lite.layers.rotated_boxes import iou_of_pairs
from d2lite.structures import Boxes, Instances, RotatedBoxes, matched_pairwise_iou, split_rows
from d2lite.utils.errors import ConfigError

from ..sampling import hierarchical_ranks
from .label_proposals import box_overlaps

__all__ = [
    "check_exponents",
    "iou_ranks",
    "overlap_groups",
    "rank_weights",
    "ranked_class_loss",
    "score_priority",
    "score_ranks",
]

# The IoU above which a box belongs to a better one.
_OVERLAP = 0.5

# Scores and deltas of regions, as a predictor gives them.
Predictions = tuple[Tensor, Tensor]


def check_exponents(exponents: Sequence[float], *, is_entropy: bool) -> None:
    """Refuse what `ranked_class_loss` cannot weigh by.

    Args:
        exponents: of objects and of background; both 0 for equal weights.
        is_entropy: whether the loss of classes is a cross-entropy without further weights.

    Raises:
        ConfigError: for other exponents than two of at least 0, or another loss.
    """
    is_number = [isinstance(power, (int, float)) and power >= 0 for power in exponents]
    if is_number != [True, True]:
        raise ConfigError(
            f"MODEL.ROI_BOX_HEAD.RANK_EXPONENTS={list(exponents)}: give two numbers of at least 0, "
            "of objects and of background."
        )
    if any(exponents) and not is_entropy:
        raise ConfigError(
            "MODEL.ROI_BOX_HEAD.RANK_EXPONENTS weighs cross-entropies; set CLASS_LOSS to '' and "
            "USE_FED_LOSS to False."
        )


def overlap_groups(boxes: Boxes, scores: Tensor) -> Tensor:
    """Group boxes by the best one that they overlap, as non-maximum suppression finds it.

    Args:
        boxes: R boxes, upright or rotated.
        scores: (R,) float.

    Returns:
        (R,) int64 in [0, number of groups), that of the best box first.

    Source: Cao 2019, arXiv:1904.04821, section 3.
    """
    suppress = batched_nms_rotated if isinstance(boxes, RotatedBoxes) else batched_nms
    kept = suppress(boxes.tensor, scores, torch.zeros_like(scores, dtype=torch.int64), _OVERLAP)
    if len(kept) == 0:
        return kept
    overlaps = box_overlaps(boxes[kept], boxes)
    # Of several, the first is the one that suppressed it.
    groups = (overlaps > _OVERLAP).to(torch.uint8).argmax(dim=0)
    # A box without an area does not even overlap itself.
    groups[kept] = torch.arange(len(kept), device=kept.device)
    return groups


@torch.no_grad()
def score_ranks(predictor: Any, predictions: Predictions, proposals: Sequence[Instances]) -> Tensor:
    """Ranks of background regions: the more like an object, the earlier (Score-HLR).

    Args:
        predictor: as `FastRCNNOutputLayers`.
        predictions: what it gave for the regions.
        proposals: of each image, with proposal_boxes; all of them are background.

    Returns:
        (R,) int64, each of 0 to R - 1 once.

    Source: Cao 2019, arXiv:1904.04821, section 3.
    """
    probs = cat(list(predictor.predict_probs(predictions, proposals)))
    scores, classes = probs[:, :-1].float().max(dim=1)
    regions = []
    for found, of_image in zip(proposals, split_rows(classes, proposals), strict=True):
        fields = {"proposal_boxes": found.proposal_boxes, "gt_classes": of_image}
        regions.append(Instances(found.image_size, **fields))
    boxes = predictor.predict_boxes_for_gt_classes(predictions, regions)
    groups: list[Tensor] = []
    first = 0
    for found, refined, of_image in zip(
        proposals, boxes, split_rows(scores, proposals), strict=True
    ):
        groups.append(overlap_groups(type(found.proposal_boxes)(refined), of_image) + first)
        first += len(found)
    return hierarchical_ranks(scores, torch.cat(groups))


def score_priority(
    predictor: Any, predictions: Predictions, found: Instances, classes: Tensor
) -> Tensor:
    """What `subsample_labels` draws background by, in the order of `score_ranks`.

    Args:
        predictor: as `FastRCNNOutputLayers`.
        predictions: what it gave for the regions.
        found: R regions of one image, with proposal_boxes.
        classes: (R,) int64 in [0, K].

    Returns:
        (R,) float32: minus the rank of background, and 0 for objects.
    """
    is_background = classes == predictor.num_classes
    priority = torch.zeros_like(classes, dtype=torch.float32)
    chosen = _chosen(predictions, [found], is_background)
    priority[is_background] = -score_ranks(predictor, *chosen).float()
    return priority


@torch.no_grad()
def iou_ranks(
    predictor: Any, predictions: Predictions, proposals: Sequence[Instances]
) -> tuple[Tensor, Tensor]:
    """Ranks of the regions of objects: the nearer to their object, the earlier (IoU-HLR).

    Args:
        predictor: as `FastRCNNOutputLayers`.
        predictions: what it gave for the regions.
        proposals: of each image, with proposal_boxes, gt_boxes and gt_classes in [0, K).

    Returns:
        (R,) int64 ranks, 0 for the first of each class; (R,) int64 classes.

    Source: Cao 2019, arXiv:1904.04821, section 3.
    """
    refined = cat(list(predictor.predict_boxes_for_gt_classes(predictions, proposals))).float()
    truth = cat([found.gt_boxes.tensor for found in proposals])
    classes = cat([found.gt_classes for found in proposals])
    if truth.shape[1] == 5:
        overlaps = iou_of_pairs(refined, truth)
    else:
        overlaps = matched_pairwise_iou(Boxes(refined), Boxes(truth))
    images = cat([torch.full_like(f.gt_classes, i) for i, f in enumerate(proposals)])
    is_same = (truth[:, None] == truth).all(dim=2)
    for part in (images, classes):
        is_same &= part[:, None] == part
    # The first region of an object stands for the object.
    objects = is_same.to(torch.uint8).argmax(dim=1) if len(truth) else classes
    return hierarchical_ranks(overlaps, objects, classes), classes


def rank_weights(ranks: Tensor, kinds: Tensor, losses: Tensor, exponent: float) -> Tensor:
    """Weights that fall with the ranks and leave the sum of losses as it is.

    Args:
        ranks: (R,) int64, 0 for the first of each kind.
        kinds: (R,) int64 >= 0, such as classes.
        losses: (R,) float, what the weights are for.
        exponent: how steep; 0 gives weights of 1.

    Returns:
        (R,) float; no gradient goes through them.

    Source: Cao 2019, arXiv:1904.04821, section 4.1, with a bias of 0.
    """
    if len(ranks) == 0:
        return torch.ones_like(losses)
    losses, most = losses.detach(), kinds.bincount().max()
    weights = ((most - ranks) / most) ** exponent
    return weights * losses.sum() / (weights * losses).sum().clamp(min=1e-12)


def ranked_class_loss(
    predictor: Any,
    predictions: Predictions,
    proposals: Sequence[Instances],
    gt_classes: Tensor,
    exponents: Sequence[float],
) -> Tensor:
    """Mean loss of classes in which the regions that decide the result weigh more (ISR).

    Args:
        predictor: as `FastRCNNOutputLayers`.
        predictions: what it gave for the regions.
        proposals: of each image, with proposal_boxes, gt_boxes and gt_classes.
        gt_classes: (R,) int64 in [0, K], of all of them.
        exponents: of the weights of objects, by `iou_ranks`, and of background, by `score_ranks`;
            see `rank_weights`.

    Source: Cao 2019, arXiv:1904.04821, section 4.1.
    """
    losses = predictor.losses_of_classes(predictions[0], gt_classes)
    is_object = gt_classes < predictor.num_classes
    weights = torch.ones_like(losses)
    of_objects, of_background = exponents
    if of_objects > 0:
        ranks, kinds = iou_ranks(predictor, *_chosen(predictions, proposals, is_object))
        weights[is_object] = rank_weights(ranks, kinds, losses[is_object], of_objects)
    if of_background > 0:
        ranks = score_ranks(predictor, *_chosen(predictions, proposals, ~is_object))
        own = losses[~is_object]
        weights[~is_object] = rank_weights(ranks, torch.zeros_like(ranks), own, of_background)
    return (weights * losses).sum() / max(len(losses), 1)


def _chosen(
    predictions: Predictions, proposals: Sequence[Instances], is_chosen: Tensor
) -> tuple[Predictions, list[Instances]]:
    """The predictions and proposals of some of R regions, without masks and keypoints."""
    kept = []
    for found, mask in zip(proposals, split_rows(is_chosen, proposals), strict=True):
        names = ("proposal_boxes", "gt_boxes", "gt_classes")
        fields = {name: found.get(name)[mask] for name in names if found.has(name)}
        kept.append(Instances(found.image_size, **fields))
    return (predictions[0][is_chosen], predictions[1][is_chosen]), kept
