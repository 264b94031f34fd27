"""split_batch: the parts of a batch that gradient accumulation passes one after another."""

import itertools
from collections.abc import Sequence
from typing import Any

from d2lite.utils.errors import DataError


def split_batch(batch: Any, num_parts: int) -> list[tuple[Any, float]]:
    """Split a batch into nearly equal parts, each with its share of the images.

    Args:
        batch: a sequence of images; anything else only when `num_parts` is 1.
        num_parts: number of parts; a batch with fewer images gives fewer parts.

    Returns:
        (part, share) pairs; the shares add up to 1.
    """
    if num_parts == 1:
        return [(batch, 1.0)]
    if not isinstance(batch, Sequence) or not batch:
        raise DataError(
            f"SOLVER.ACCUMULATE_STEPS={num_parts} needs batches that are lists of images; the data "
            f"loader gave a {type(batch).__name__}. Return lists, or use SOLVER.ACCUMULATE_STEPS 1."
        )
    count = len(batch)
    num_parts = min(num_parts, count)
    edges = [count * part // num_parts for part in range(num_parts + 1)]
    return [
        (batch[start:stop], (stop - start) / count) for start, stop in itertools.pairwise(edges)
    ]
