"""Which anchors learn which object, and which backgrounds count.

M objects, R anchors, N images.
"""

import torch
from torch import Tensor


def match_anchors(ious: Tensor, threshold: float) -> Tensor:
    """The object of each anchor.

    Args:
        ious: (M, R) float.
        threshold: an anchor learns the object of its largest IoU if that is at least this. The
            best anchor of each object learns it in any case; the best of several, the last.

    Returns:
        (R,) int64, -1 for background.

    Source: Liu 2016, arXiv:1512.02325, section 2.2.
    """
    num_objects, num = ious.shape
    owner = torch.full((num,), -1, dtype=torch.int64, device=ious.device)
    if num_objects == 0:
        return owner
    best, number = ious.max(dim=0)
    owner = number.where(best >= threshold, owner)
    objects = torch.arange(num_objects, device=ious.device)
    return owner.scatter_reduce(0, ious.argmax(dim=1), objects, "amax", include_self=False)


def hard_negatives(losses: Tensor, is_object: Tensor, per_object: int) -> Tensor:
    """The backgrounds of each image that the model gets most wrong.

    Args:
        losses: (N, R) float, of the classes.
        is_object: (N, R) bool.
        per_object: how many for each anchor that learns an object.

    Returns:
        (N, R) bool.

    Source: Liu 2016, arXiv:1512.02325, section 2.2.
    """
    count_N = is_object.sum(dim=1, keepdim=True) * per_object
    order = losses.masked_fill(is_object, -torch.inf).argsort(dim=1, descending=True)
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    return (rank < count_N) & ~is_object
