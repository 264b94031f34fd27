"""Which proposals a loss is computed on, and what each of them should have been.

G objects and R proposals of one image, K classes; class K is the background.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from d2lite.layers import cat
from d2lite.structures import (
    Boxes,
    Instances,
    RotatedBoxes,
    pairwise_iou,
    pairwise_iou_rotated,
)
from d2lite.utils.events import log_scalars


def classes_of_matches(
    gt_classes: Tensor, matches: Tensor, match_labels: Tensor, num_classes: int
) -> Tensor:
    """The class that each proposal should get.

    Args:
        gt_classes: (G,) int64 in [0, K).
        matches: (R,) int64, the object that each proposal was matched with.
        match_labels: (R,) 1 foreground, 0 background, -1 ignored.
        num_classes: K.

    Returns:
        (R,) int64 in [0, K], -1 for ignored ones.
    """
    if len(gt_classes) == 0:
        return torch.full_like(matches, num_classes)
    classes = gt_classes[matches]
    classes = torch.where(match_labels == 0, num_classes, classes)
    return torch.where(match_labels == -1, -1, classes)


def box_overlaps(objects: Boxes, boxes: Boxes) -> Tensor:
    """(G, R) IoU of G objects and R boxes, all upright or all rotated."""
    overlap: Callable[[Any, Any], Tensor] = pairwise_iou
    if isinstance(boxes, RotatedBoxes):
        overlap = pairwise_iou_rotated
    return overlap(objects, boxes)


def match_boxes(
    boxes: Boxes, targets: Instances, matcher: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """Match boxes with the objects of an image.

    Args:
        boxes: R boxes, upright or rotated.
        targets: with gt_boxes of G objects; G may be 0.
        matcher: (G, R) IoU -> matches and labels.

    Returns:
        (R,) int64 object of each box, 0 where there is none; (R,) label: 1 foreground, 0
        background, -1 ignored.
    """
    return matcher(box_overlaps(targets.gt_boxes, boxes))


def attach_targets(proposals: Instances, targets: Instances, matches: Tensor) -> None:
    """Give each proposal the ground truth of its object: all fields "gt_..." it has not yet.

    Args:
        proposals: R proposals; changed.
        targets: G objects.
        matches: (R,) int64, the object of each proposal.
    """
    missing = {
        name: value
        for name, value in targets.get_fields().items()
        if name.startswith("gt_") and not proposals.has(name)
    }
    if len(targets):
        truth = Instances(targets.image_size, **missing)[matches]
    else:
        # All of these are background: losses ask for boxes, but read nothing from them.
        truth = Instances(targets.image_size)
        if "gt_boxes" in missing:
            kind, numbers = type(targets.gt_boxes), targets.gt_boxes.tensor
            truth.gt_boxes = kind(numbers.new_zeros((len(proposals), numbers.shape[1])))
    for name, value in truth.get_fields().items():
        proposals.set(name, value)


def select_foreground_proposals(
    proposals: Sequence[Instances], bg_label: int
) -> tuple[list[Instances], list[Tensor]]:
    """Keep the proposals that are an object.

    Args:
        proposals: of each image, with gt_classes.
        bg_label: the class of the background; -1 (ignored) does not count as object either.

    Returns:
        The kept ones of each image, and for each image (R,) bool which were kept.
    """
    masks = [(p.gt_classes != -1) & (p.gt_classes != bg_label) for p in proposals]
    return [p[mask] for p, mask in zip(proposals, masks, strict=True)], masks


def select_proposals_with_visible_keypoints(proposals: Sequence[Instances]) -> list[Instances]:
    """Keep the proposals that contain at least one labelled keypoint.

    Others have nothing that a keypoint loss could be computed on.

    Args:
        proposals: of each image, with proposal_boxes, and gt_keypoints unless there are none.
    """
    selected = []
    for found in proposals:
        if len(found) == 0:
            selected.append(found)
            continue
        keypoints_RK3 = found.gt_keypoints.tensor
        boxes_R14 = found.proposal_boxes.tensor[:, None]
        points, is_labelled = keypoints_RK3[..., :2], keypoints_RK3[..., 2] >= 1
        is_inside = (points >= boxes_R14[..., :2]) & (points <= boxes_R14[..., 2:])
        has_keypoint = (is_inside.all(dim=2) & is_labelled).any(dim=1)
        selected.append(found[has_keypoint])
    count = sum(len(found) for found in selected) / max(len(selected), 1)
    log_scalars({"keypoint_head/num_fg_samples": count})
    return selected


def joined_targets(proposals: Sequence[Instances]) -> tuple[Tensor, Tensor, Tensor]:
    """Proposal boxes (R, D), ground-truth boxes (R, D) and classes (R,) of all images.

    Where proposals have no gt_boxes, all are background, and their own boxes take the place.
    """
    fields = [found.get_fields() for found in proposals]
    boxes = [of_image["proposal_boxes"] for of_image in fields]
    truth = [of_image.get("gt_boxes", own) for of_image, own in zip(fields, boxes, strict=True)]
    joined_boxes, joined_truth = (cat([b.tensor for b in kind]) for kind in (boxes, truth))
    return joined_boxes, joined_truth, cat([of_image["gt_classes"] for of_image in fields])
