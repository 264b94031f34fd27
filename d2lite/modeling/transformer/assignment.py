"""The assignment of queries to objects that costs least, one to one.

Q queries, T objects of an image.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from d2lite.utils.errors import MissingPackageError

Pairs = tuple[Tensor, Tensor]


def hungarian_assignment(costs: Sequence[Sequence[Tensor]]) -> list[list[Pairs]]:
    """Give each object a query of its own, with the least sum of costs.

    Of more objects than queries, those that cost most stay without one. All costs go to the host
    in one transfer.

    Args:
        costs: for each decoder layer, and in it for each image, (Q, T) float. They are computed
            without autocast: half precision rounds, and overflows, where costs are large.

    Returns:
        In the same order (queries, objects): two (min(Q, T),) int64 tensors on the device of the
        costs, by ascending queries.

    Raises:
        FloatingPointError: if a cost is infinite or NaN; with the image and the query.
        MissingPackageError: if scipy is not installed.

    Source: Kuhn 1955; Crouse 2016 for scipy's algorithm.
    """
    solve = _solver()
    of_all = [cost for of_layer in costs for cost in of_layer]
    if not of_all:
        return [[] for _ in costs]
    device = of_all[0].device
    flat = torch.cat([cost.detach().float().flatten() for cost in of_all]).cpu().numpy()
    ends = np.cumsum([cost.numel() for cost in of_all])
    tables = [
        part.reshape(cost.shape)
        for part, cost in zip(np.split(flat, ends[:-1]), of_all, strict=True)
    ]
    if not np.isfinite(flat).all():
        raise FloatingPointError(_diverged(tables, [len(of_layer) for of_layer in costs]))
    pairs = [np.stack(solve(table)) for table in tables]
    # One transfer back as well.
    joined = torch.from_numpy(np.concatenate(pairs, axis=1).astype(np.int64)).to(device)
    found = iter(joined.split([pair.shape[1] for pair in pairs], dim=1))
    return [[tuple(next(found).unbind(0)) for _ in of_layer] for of_layer in costs]


def _solver() -> Any:
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as err:
        raise MissingPackageError(
            "Training this model assigns its queries to objects with scipy, which cannot be "
            f"imported ({err}). Install it: pip install scipy"
        ) from err
    return linear_sum_assignment


def _diverged(tables: Sequence[np.ndarray], sizes: Sequence[int]) -> str:
    """The message about the first cost that is not finite."""
    places = [(layer, image) for layer, size in enumerate(sizes) for image in range(size)]
    (layer, image), rows = next(
        (place, np.flatnonzero(~np.isfinite(table).all(axis=1)))
        for place, table in zip(places, tables, strict=True)
        if not np.isfinite(table).all()
    )
    return (
        f"The predictions of query {rows[0]} for image {image} of the batch (counted from 0; "
        f"decoder layer {layer}, {len(rows)} such queries) are infinite or not a number: training "
        "has diverged. Lower SOLVER.BASE_LR, lengthen SOLVER.WARMUP_ITERS or switch on "
        "SOLVER.CLIP_GRADIENTS.ENABLED; with float16, set SOLVER.AMP.PRECISION bfloat16."
    )
