"""From classes and masks of queries to results of an image.

Q queries, K classes, H x W pixels of the result.
"""

from collections.abc import Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from d2lite.structures import BitMasks, Instances

from ..padded import best_rows, take_rows

Panoptic = tuple[Tensor, list[dict[str, Any]]]


def semantic_scores(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """Add up what the queries say of each pixel.

    Args:
        class_logits: (..., Q, K + 1), the last for no object.
        mask_logits: (..., Q, H, W).

    Returns:
        (..., K, H, W): sums of class probability times mask probability, 0 or more.
    """
    classes = class_logits.softmax(dim=-1)[..., :-1]
    return torch.einsum("...qk,...qhw->...khw", classes, mask_logits.sigmoid())


def panoptic_segments(
    class_logits: Tensor,
    mask_logits: Tensor,
    things: Collection[int],
    object_mask_threshold: float,
    overlap_threshold: float,
) -> Panoptic:
    """Give each pixel to the query that claims it most, if that is part of its mask.

    Args:
        class_logits: (Q, K + 1), the last for no object.
        mask_logits: (Q, H, W).
        things: classes of objects; other classes have one segment each.
        object_mask_threshold: a query takes part if its best class has a higher probability.
        overlap_threshold: a query is dropped if it wins fewer pixels than this share of its mask.

    Returns:
        (H, W) int32 ids of segments, 0 for none, and for each segment its id, isthing and
        category_id.
    """
    scores, labels = class_logits.softmax(dim=-1).max(dim=-1)
    takes_part = (labels != class_logits.shape[1] - 1) & (scores > object_mask_threshold)
    scores, labels = scores[takes_part], labels[takes_part]
    segments: list[dict[str, Any]] = []
    nobody = mask_logits.new_zeros(mask_logits.shape[1:], dtype=torch.int32)
    if len(labels) == 0:
        return nobody, segments
    probabilities = mask_logits[takes_part].sigmoid()
    owner = (scores[:, None, None] * probabilities).argmax(dim=0)
    in_mask = probabilities >= 0.5
    in_own_mask = in_mask.gather(0, owner[None])[0]
    counts = torch.stack(
        [
            in_mask.flatten(1).sum(dim=1),
            owner.flatten().bincount(minlength=len(labels)),
            owner[in_own_mask].bincount(minlength=len(labels)),
        ],
        dim=1,
    )
    ids = [0] * len(labels)
    id_of_stuff: dict[int, int] = {}
    for query, ((whole, won, visible), label) in enumerate(
        zip(counts.tolist(), labels.tolist(), strict=True)
    ):
        if visible == 0 or won / whole < overlap_threshold:
            continue
        if label in id_of_stuff:
            ids[query] = id_of_stuff[label]
            continue
        ids[query] = len(segments) + 1
        is_thing = label in things
        if not is_thing:
            id_of_stuff[label] = ids[query]
        segments.append({"id": ids[query], "isthing": is_thing, "category_id": label})
    id_of_query = torch.tensor(ids, dtype=torch.int32, device=owner.device)
    return torch.where(in_own_mask, id_of_query[owner], nobody), segments


def best_instances(
    class_logits: Tensor,
    mask_logits: Tensor,
    most: int,
    things: Collection[int] | None = None,
) -> Instances:
    """The best pairs of a query and a class; a query may come with several classes.

    Args:
        class_logits: (Q, K + 1), the last for no object.
        mask_logits: (Q, H, W).
        most: pairs that are looked at.
        things: classes that are kept; None for all.

    Returns:
        pred_masks ((M, H, W) bool), pred_boxes around them, pred_classes and scores: probability
        of the class times mean probability of the mask's pixels. Masks without a pixel have the
        score 0 and an empty box.
    """
    probabilities = class_logits.softmax(dim=-1)[:, :-1]
    num_classes = probabilities.shape[1]
    scores, place = probabilities.flatten().topk(min(most, probabilities.numel()))
    classes = place % num_classes
    if things is not None:
        of_things = torch.tensor(sorted(things), dtype=torch.int64, device=classes.device)
        is_thing = torch.isin(classes, of_things)
        scores, place, classes = scores[is_thing], place[is_thing], classes[is_thing]
    query = torch.div(place, num_classes, rounding_mode="floor")
    # Of the queries, not of the pairs, which may be many of one query.
    in_mask = mask_logits > 0
    inside = (mask_logits.sigmoid() * in_mask).flatten(1).sum(dim=1)
    quality = inside / (in_mask.flatten(1).sum(dim=1) + 1e-6)
    masks = BitMasks(in_mask[query])
    return Instances(
        (mask_logits.shape[1], mask_logits.shape[2]),
        pred_masks=masks.tensor,
        pred_boxes=masks.get_bounding_boxes(),
        scores=scores * quality[query],
        pred_classes=classes,
    )


def best_instances_padded(
    class_logits: Tensor,
    mask_logits: Tensor,
    inside: Tensor,
    most: int,
    things: Collection[int] | None = None,
) -> dict[str, Tensor]:
    """`best_instances` of a batch in the fixed-size form, best first.

    Args:
        class_logits: (N, Q, K + 1).
        mask_logits: (N, Q, H, W).
        inside: (N, 1, H, W) bool, the pixels of each image.
        most: D.
        things: see `best_instances`.

    Returns:
        `image_masks` (N, D, H, W) bool, `scores`, `classes` and `valid` (N, D).
    """
    probabilities = class_logits.softmax(dim=-1)[..., :-1]
    num_queries, num_classes = probabilities.shape[1:]
    scores, place = probabilities.flatten(1).topk(min(most, num_queries * num_classes), dim=1)
    query, classes = place // num_classes, place % num_classes
    valid = torch.ones_like(scores, dtype=torch.bool)
    if things is not None:
        of_things = torch.tensor(sorted(things), dtype=torch.int64, device=classes.device)
        valid = (classes[..., None] == of_things).any(dim=-1)
    in_mask = (mask_logits > 0) & inside
    total = (mask_logits.sigmoid() * in_mask).flatten(2).sum(dim=2)
    quality = total / (in_mask.flatten(2).sum(dim=2) + 1e-6)
    order, valid = best_rows(scores * quality.gather(1, query), valid, scores.shape[1])
    scores, query = (scores * quality.gather(1, query)).gather(1, order), query.gather(1, order)
    return {
        "image_masks": take_rows(in_mask, query),
        "scores": scores.masked_fill(~valid, 0.0),
        "classes": classes.gather(1, order).masked_fill(~valid, 0),
        "valid": valid,
    }


def panoptic_segments_padded(
    class_logits: Tensor,
    mask_logits: Tensor,
    inside: Tensor,
    things: Collection[int],
    object_mask_threshold: float,
    overlap_threshold: float,
) -> tuple[Tensor, Tensor]:
    """`panoptic_segments` of a batch in the fixed-size form.

    Args:
        class_logits: (N, Q, K + 1).
        mask_logits: (N, Q, H, W).
        inside: (N, 1, H, W) bool, the pixels of each image.
        things: see `panoptic_segments`.
        object_mask_threshold: likewise.
        overlap_threshold: likewise.

    Returns:
        (N, H, W) int64 numbers of segments, 0 for none; (N, Q + 1) int64 their classes. A segment
        has the number of its first query, from 1.
    """
    num_queries = class_logits.shape[1]
    scores, labels = class_logits.softmax(dim=-1).max(dim=-1)
    takes_part = (labels != class_logits.shape[2] - 1) & (scores > object_mask_threshold)
    probabilities = mask_logits.sigmoid()
    claims = (scores[..., None, None] * probabilities).masked_fill(
        ~takes_part[..., None, None], -1.0
    )
    owner = claims.argmax(dim=1)
    in_mask = (probabilities >= 0.5) & inside & takes_part[..., None, None]
    queries = torch.arange(num_queries, device=owner.device)
    is_owner = (owner[:, None] == queries[:, None, None]) & inside
    visible = is_owner & in_mask
    whole, won, seen = (x.flatten(2).sum(dim=2) for x in (in_mask, is_owner, visible))
    kept = (seen > 0) & (won / whole.clamp(min=1) >= overlap_threshold)
    of_things = torch.tensor(sorted(things), dtype=torch.int64, device=owner.device)
    is_thing = (labels[..., None] == of_things).any(dim=-1)
    # Of classes that are not objects, the first query gives the number.
    same = (labels[:, :, None] == labels[:, None]) & ~is_thing[:, :, None] & kept[:, None]
    same = same | (queries[:, None] == queries)
    number = (same.long().argmax(dim=2) + 1).masked_fill(~kept, 0)
    segments = (visible * number[..., None, None]).sum(dim=1)
    return segments, F.pad(labels, (1, 0))
