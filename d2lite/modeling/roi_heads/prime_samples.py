"""Prime samples: which regions decide the result, by hierarchical local ranks.

R regions of one image or several, K classes; class K is the background.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from d2lite.layers import batched_nms, batched_nms_rotated, cat
from d2lite.structures import Boxes, Instances, RotatedBoxes, split_rows

from ..sampling import hierarchical_ranks
from .label_proposals import box_overlaps

__all__ = ["overlap_groups", "score_priority", "score_ranks"]

# Scores and deltas of regions, as a predictor gives them.
Predictions = tuple[Tensor, Tensor]


def overlap_groups(boxes: Boxes, scores: Tensor, threshold: float = 0.5) -> Tensor:
    """Group boxes by the best one that they overlap, as non-maximum suppression finds it.

    Args:
        boxes: R boxes, upright or rotated.
        scores: (R,) float.
        threshold: the IoU above which a box belongs to a better one.

    Returns:
        (R,) int64 in [0, number of groups), that of the best box first.

    Source: Cao 2019, arXiv:1904.04821, section 3.
    """
    suppress = batched_nms_rotated if isinstance(boxes, RotatedBoxes) else batched_nms
    kept = suppress(boxes.tensor, scores, torch.zeros_like(scores, dtype=torch.int64), threshold)
    if len(kept) == 0:
        return kept
    overlaps = box_overlaps(boxes[kept], boxes)
    # Of several, the first is the one that suppressed it.
    groups = (overlaps > threshold).to(torch.uint8).argmax(dim=0)
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


def _chosen(
    predictions: Predictions, proposals: Sequence[Instances], is_chosen: Tensor
) -> tuple[Predictions, list[Instances]]:
    """The predictions and proposals of some of R regions."""
    masks = split_rows(is_chosen, proposals)
    kept = [found[mask] for found, mask in zip(proposals, masks, strict=True)]
    return (predictions[0][is_chosen], predictions[1][is_chosen]), kept
