"""Each object takes as many predictions as fit it, by costs of all pairs.

R predictions, M objects.

Source: Ge 2021 (SimOTA), arXiv:2107.08430, section 2.1.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Assignment(NamedTuple):
    """Which object each prediction of an image learns.

    owner: (R,) int64, the number of the object, -1 for background.
    quality: (R,) float32 in [0, 1], the IoU with that object, 0 for background.
    """

    owner: Tensor
    quality: Tensor


def best_per_object(costs: Tensor, ious: Tensor, topk: int) -> Assignment:
    """The cheapest predictions of each object, as many as the sum of its best IoUs.

    Args:
        costs: (R, M) float32; infinite where a prediction may not learn an object.
        ious: (R, M) float32 in [0, 1].
        topk: the number of an object's predictions is the sum of its so many largest IoUs among
            those that may learn it, rounded down, and at least 1.

    Returns:
        The object of each prediction, and its IoU with it.
    """
    num, num_objects = costs.shape
    nobody = costs.new_full((num,), -1, dtype=torch.int64)
    if num_objects == 0 or num == 0:
        return Assignment(nobody, costs.new_zeros(num))
    may_learn = costs.isfinite()
    most = min(topk, num)
    best_ious = ious.where(may_learn, 0).topk(most, dim=0).values
    counts_M = best_ious.sum(dim=0).int().clamp(min=1)
    cheapest, rows = costs.topk(most, dim=0, largest=False)
    is_taken = torch.arange(most, device=costs.device)[:, None] < counts_M
    wanted = torch.zeros_like(may_learn).scatter_(0, rows, is_taken & cheapest.isfinite())
    # One that several objects want goes to the cheapest of all objects, as published.
    is_contested = wanted.sum(dim=1, keepdim=True) > 1
    least, owner = costs.where(wanted | is_contested, torch.inf).min(dim=1)
    is_object = least.isfinite()
    quality = ious.gather(1, owner[:, None]).squeeze(1)
    return Assignment(owner.where(is_object, nobody), quality.where(is_object, 0))
