"""Samplers that give each process its part of one common order.

Used with the training loader they only say what the order is; iterated over on their own they
yield the indices of this process, one out of `world_size`, without end.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler

from d2lite.utils import comm
from d2lite.utils.errors import DataError, InputTypeError

from .stream import EpochOrder, RepeatOrder, ShuffledOrder, keyed_shuffle

__all__ = [
    "InferenceSampler",
    "RandomSubsetTrainingSampler",
    "RepeatFactorTrainingSampler",
    "TrainingSampler",
]


class _StreamSampler(Sampler[Any]):
    """A sampler whose order is a pure function of (seed, position).

    A subclass that yields an order of its own, by `_infinite_indices`, finds `_size`, `_shuffle`,
    `_seed`, `_rank` and `_world_size`, as in detectron2.
    """

    seed: int
    order: EpochOrder

    def _follow(self, order: EpochOrder, size: int, shuffle: bool, seed: int) -> None:
        self.order = order
        self.seed = self._seed = seed
        self._size, self._shuffle = size, shuffle
        self._rank, self._world_size = comm.get_rank(), comm.get_world_size()

    def __iter__(self) -> Iterator[int]:
        if type(self)._infinite_indices is not _StreamSampler._infinite_indices:
            return itertools.islice(self._infinite_indices(), self._rank, None, self._world_size)
        return self.order.walk(self._rank, self._world_size)

    def _infinite_indices(self) -> Iterator[int]:
        """The indices of all processes in turn, without end."""
        return self.order.walk()


def stream_order(sampler: Sampler[Any] | None) -> EpochOrder | None:
    """The order that a sampler follows, or None where only iterating over it shows it.

    Args:
        sampler: of any kind; a subclass of one of ours may have an order of its own.
    """
    order = getattr(sampler, "order", None)
    if isinstance(sampler, _StreamSampler):
        kind = type(sampler)
        own = (_StreamSampler.__iter__, _StreamSampler._infinite_indices)
        if (kind.__iter__, kind._infinite_indices) != own:
            return None
    return order if isinstance(order, EpochOrder) else None


class TrainingSampler(_StreamSampler):
    """All images, again and again, shuffled again for each epoch."""

    def __init__(self, size: int, shuffle: bool = True, seed: int | None = None) -> None:
        """Fix the order.

        Args:
            size: number of images, at least 1.
            shuffle: False takes them in order.
            seed: the same in all processes; None draws one that they share.
        """
        _check_size(size)
        seed = comm.shared_random_seed() if seed is None else int(seed)
        self._follow(ShuffledOrder(np.arange(size), seed, shuffle=shuffle), size, shuffle, seed)


class RandomSubsetTrainingSampler(TrainingSampler):
    """A random part of the images, the same for the whole run, shuffled again for each epoch."""

    def __init__(
        self,
        size: int,
        subset_ratio: float,
        shuffle: bool = True,
        seed_shuffle: int | None = None,
        seed_subset: int | None = None,
    ) -> None:
        """Choose the images and fix the order.

        Args:
            size: number of images of the dataset.
            subset_ratio: share of them that is used, in (0, 1].
            shuffle: False takes the chosen ones in the order of the choice.
            seed_shuffle: for the order; None draws one that all processes share.
            seed_subset: for the choice; None draws one that all processes share.
        """
        _check_size(size)
        if not 0 < subset_ratio <= 1:
            raise DataError(
                f"DATALOADER.RANDOM_SUBSET_RATIO is {subset_ratio}; it must be above 0 and at "
                "most 1."
            )
        if seed_subset is None:
            seed_subset = comm.shared_random_seed()
        if seed_shuffle is None:
            seed_shuffle = comm.shared_random_seed()
        # At least one image: a run over nothing would hang.
        count = max(1, int(size * subset_ratio))
        chosen = keyed_shuffle(np.arange(size), int(seed_subset))[:count]
        seed = int(seed_shuffle)
        self._follow(ShuffledOrder(chosen, seed, shuffle=shuffle), size, shuffle, seed)


class RepeatFactorTrainingSampler(_StreamSampler):
    """Images of rare classes come more often.

    Source: Gupta, Dollar and Girshick 2019, "LVIS", appendix B.2.
    """

    def __init__(
        self,
        repeat_factors: torch.Tensor | Sequence[float],
        *,
        shuffle: bool = True,
        seed: int | None = None,
    ) -> None:
        """Fix the order.

        Args:
            repeat_factors: (number of images,) float: how often an epoch shows each of them on
                average. A factor of 1.5 gives one and two times in turn.
            shuffle: False keeps each epoch in order of index.
            seed: the same in all processes; None draws one that they share.
        """
        factors = np.asarray(torch.as_tensor(repeat_factors), dtype=np.float64)
        _check_size(len(factors))
        if not np.isfinite(factors).all() or (factors < 0).any() or factors.sum() <= 0:
            raise DataError(
                "Repeat factors must be finite, not negative and not all zero; found values from "
                f"{factors.min()} to {factors.max()}."
            )
        seed = comm.shared_random_seed() if seed is None else int(seed)
        self._follow(RepeatOrder(factors, seed, shuffle=shuffle), len(factors), shuffle, seed)

    @staticmethod
    def repeat_factors_from_category_frequency(
        dataset_dicts: list[dict[str, Any]], repeat_thresh: float, sqrt: bool = True
    ) -> torch.Tensor:
        """How often to repeat each image so that rare classes are seen more.

        A class found in a share f of the images asks for max(1, sqrt(thresh / f)) repeats, and an
        image gets the largest number that one of its classes asks for.

        Args:
            dataset_dicts: with "annotations", each with a "category_id".
            repeat_thresh: the share of images below which a class counts as rare.
            sqrt: False asks for max(1, thresh / f), which is the stronger rule.

        Returns:
            (len(dataset_dicts),) float32, each 1 or more.
        """
        classes_of = [
            {obj["category_id"] for obj in record.get("annotations", ())}
            for record in dataset_dicts
        ]
        images_with = Counter(category for classes in classes_of for category in classes)

        def repeats(count: int) -> float:
            lack = repeat_thresh * len(dataset_dicts) / count
            return max(1.0, math.sqrt(lack) if sqrt else lack)

        asked = {category: repeats(count) for category, count in images_with.items()}
        return torch.tensor(
            [max((asked[c] for c in classes), default=1.0) for classes in classes_of],
            dtype=torch.float32,
        )


class InferenceSampler(Sampler[Any]):
    """Each image exactly once over all processes, in contiguous parts of almost equal size."""

    def __init__(self, size: int) -> None:
        """Cut the dataset.

        Args:
            size: number of images; 0 is fine, and processes may get nothing.
        """
        self._size = size
        self._rank, self._world_size = comm.get_rank(), comm.get_world_size()
        self._local_indices = self._get_local_indices(size, self._world_size, self._rank)

    @staticmethod
    def _get_local_indices(total_size: int, world_size: int, rank: int) -> range:
        """The part of one process; the first ones get one more where it does not divide."""
        share, left_over = divmod(total_size, world_size)
        start = rank * share + min(rank, left_over)
        return range(start, start + share + (rank < left_over))

    def __iter__(self) -> Iterator[int]:
        yield from self._local_indices

    def __len__(self) -> int:
        return len(self._local_indices)


def _check_size(size: int) -> None:
    if not isinstance(size, int):
        raise InputTypeError(
            f"A sampler's size must be an int, found {type(size).__name__} {size!r}."
        )
    if size <= 0:
        raise DataError(
            f"A training sampler needs at least one image, found {size}. Check DATASETS.TRAIN and "
            "DATALOADER.FILTER_EMPTY_ANNOTATIONS."
        )
