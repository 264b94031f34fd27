"""GroupedBatchSampler: batches of indices that belong to one group."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import BatchSampler, Sampler

from d2lite.utils.errors import InputTypeError

__all__ = ["GroupedBatchSampler"]


class GroupedBatchSampler(BatchSampler):
    """Turn an endless sampler into batches, each from one group, in order of completion."""

    def __init__(self, sampler: Sampler[Any], group_ids: Sequence[int], batch_size: int) -> None:
        """Group what a sampler yields.

        Args:
            sampler: yields indices without end.
            group_ids: (size of dataset,) the group of each index, any integers.
            batch_size: indices in a batch.

        Raises:
            InputTypeError: if `sampler` is not a Sampler.
        """
        if not isinstance(sampler, Sampler):
            raise InputTypeError(f"Expected a torch Sampler, found {type(sampler).__name__}.")
        self.sampler = sampler
        self.group_ids = np.asarray(group_ids)
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[list[int]]:
        waiting: dict[int, list[int]] = {}
        for index in self.sampler:
            group = int(self.group_ids[index])
            batch = waiting.setdefault(group, [])
            batch.append(index)
            if len(batch) == self.batch_size:
                yield waiting.pop(group)

    def __len__(self) -> int:
        raise TypeError("A grouped sampler over an endless one has no length.")
