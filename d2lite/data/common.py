"""Datasets as the loader sees them: lists in one block of bytes, mapped ones, iterable ones."""

import copy
import functools
import itertools
import logging
import pickle
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch.utils.data import Dataset, IterableDataset, Sampler, get_worker_info

from d2lite.data.samplers.aspect_ratio import AspectRatioGroupedDataset
from d2lite.utils.errors import DataError, InputTypeError
from d2lite.utils.keyed_rng import draw_key
from d2lite.utils.serialize import picklable
from d2lite.utils.shared_bytes import SharedBytes

__all__ = [
    "AspectRatioGroupedDataset",
    "DatasetFromList",
    "MapDataset",
    "ToIterableDataset",
    "set_default_dataset_from_list_serialize_method",
]

logger = logging.getLogger(__name__)

# How many samples in a row may be refused by a mapper before the data is called unusable.
MAX_TRIES = 64


class SerializedList:
    """A list kept as one block of pickled bytes, which processes share instead of copying.

    A Python list of dicts is copied page by page into every worker, because looking at an object
    changes its reference count. Bytes are not touched by reading, and all processes of a machine
    that have the same ones keep them once, see `SharedBytes`.
    """

    def __init__(self, items: Sequence[Any]) -> None:
        """Pickle the items one by one."""
        self._length = len(items)
        ends = np.empty(self._length, dtype=np.int64)
        content = bytearray(ends.nbytes)
        for i, item in enumerate(items):
            content += pickle.dumps(item, protocol=-1)
            ends[i] = len(content)
        content[: ends.nbytes] = ends.tobytes()
        self._shared = SharedBytes(content)
        logger.info(
            "Keeping %d dataset dicts in one block of %.2f MiB%s.",
            self._length,
            self.nbytes / 2**20,
            "" if self._shared.path is None else ", once for all processes of this machine",
        )

    @property
    def nbytes(self) -> int:
        """Size of the block."""
        return len(self._shared)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Any:
        index = range(len(self))[index]  # negative ones count from the end, too large ones raise
        start = self._end(index - 1) if index else 8 * self._length
        return pickle.loads(self._shared.view[start : self._end(index)])

    def _end(self, index: int) -> int:
        """Where the bytes of an item end."""
        return int.from_bytes(self._shared.view[8 * index : 8 * index + 8], sys.byteorder)


_default_serializer: Callable[[Sequence[Any]], Any] = SerializedList


@contextmanager
def set_default_dataset_from_list_serialize_method(
    new: Callable[[Sequence[Any]], Any],
) -> Iterator[None]:
    """Inside, `DatasetFromList(..., serialize=True)` stores its items by `new(list)`."""
    global _default_serializer
    kept, _default_serializer = _default_serializer, new
    try:
        yield
    finally:
        _default_serializer = kept


class DatasetFromList(Dataset[Any]):
    """A list as a map-style dataset, by default kept as shared bytes."""

    is_list = True

    def __init__(
        self,
        lst: list[Any],
        copy: bool = True,
        serialize: bool | Callable[[Sequence[Any]], Any] = True,
    ) -> None:
        """Wrap a list.

        Args:
            lst: the elements.
            copy: hand out deep copies, so that a mapper may change what it gets. Serialised
                elements are new at each reading anyway.
            serialize: True keeps the elements as one block of bytes shared by all workers; a
                function stores them by `serialize(lst)`; False keeps the list itself.
        """
        store = serialize if callable(serialize) else _default_serializer if serialize else None
        self._items = store(lst) if store else lst
        self._copies = copy and store is None

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, idx: int) -> Any:
        item = self._items[idx]
        return copy.deepcopy(item) if self._copies else item


class MapDataset(Dataset[Any]):
    """A dataset whose elements pass through a function; None from it means "not this one"."""

    def __new__(cls, dataset: Dataset[Any], map_func: Callable[[Any], Any]) -> Any:
        """An iterable dataset gets an iterable wrapper."""
        if isinstance(dataset, IterableDataset):
            return _MapIterableDataset(dataset, map_func)
        return super().__new__(cls)

    def __init__(self, dataset: Dataset[Any], map_func: Callable[[Any], Any]) -> None:
        """Wrap a dataset.

        Args:
            dataset: a map-style or iterable dataset.
            map_func: element -> sample, or None to have another element taken instead.
        """
        self._dataset = dataset
        self._map_func = map_func

    @property
    def dataset(self) -> Dataset[Any]:
        """What is mapped."""
        return self._dataset

    @functools.cached_property
    def _rng(self) -> random.Random:
        """Not used here, but by subclasses that draw substitutes by themselves."""
        return random.Random(42)

    @functools.cached_property
    def _fallback_candidates(self) -> set[int]:
        """Indices of the elements that may take the place of a refused one; may be set."""
        return set(range(len(self)))

    def __getnewargs__(self) -> tuple[Any, ...]:
        return self._dataset, picklable(self._map_func)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_map_func": picklable(self._map_func)}

    def __len__(self) -> int:
        return len(self._dataset)  # type: ignore[arg-type]  # torch types no length

    def try_get(self, idx: int) -> Any | None:
        """The mapped element, or None if the function refused it."""
        return self._map_func(self._dataset[idx])

    def substitutes(self, index: int, *key: int) -> Iterator[int]:
        """The index itself, then those to try in its place when the function refuses it.

        Args:
            index: the wanted one.
            key: numbers that the choice depends on; the index if there are none.
        """
        given = self.__dict__.get("_fallback_candidates")
        return substitutes(len(self), index, *key, among=given and sorted(given))

    def __getitem__(self, idx: int) -> Any:
        """The mapped element, or a substitute that depends on `idx` alone."""
        for candidate in self.substitutes(int(idx)):
            sample = self.try_get(candidate)
            if sample is not None:
                return sample
        raise refused_everything(idx)


def substitutes(
    size: int, index: int, *key: int, among: Sequence[int] | None = None
) -> Iterator[int]:
    """The index itself, then those to try in its place when the mapper refuses it.

    Args:
        size: number of elements.
        index: the wanted one.
        key: numbers that the choice depends on; the index if there are none.
        among: the indices to choose from; all if there are none.
    """
    yield index
    first, *rest = key or (index % size,)
    choices = among or range(size)
    for attempt in range(1, MAX_TRIES):
        yield choices[draw_key(first, *rest, attempt) % len(choices)]


def refused_everything(index: int) -> DataError:
    """The error when no substitute was found."""
    return DataError(
        f"The mapper returned None for element {index} and for {MAX_TRIES - 1} others drawn in its "
        "place. Filter such images out before training, or check the mapper."
    )


class _MapIterableDataset(IterableDataset[Any]):
    """The iterable sister of `MapDataset`: refused elements are left out."""

    def __init__(self, dataset: IterableDataset[Any], map_func: Callable[[Any], Any]) -> None:
        self._dataset = dataset
        self._map_func = map_func

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_map_func": picklable(self._map_func)}

    def __len__(self) -> int:
        return len(self._dataset)  # type: ignore[arg-type]  # TypeError where it has no length

    def __iter__(self) -> Iterator[Any]:
        for element in self._dataset:
            sample = self._map_func(element)
            if sample is not None:
                yield sample


class ToIterableDataset(IterableDataset[Any]):
    """A map-style dataset and the sampler that walks it, joined into an iterable dataset."""

    def __init__(
        self,
        dataset: Dataset[Any],
        sampler: Sampler[Any],
        shard_sampler: bool = True,
        shard_chunk_size: int = 1,
    ) -> None:
        """Join a dataset and a sampler.

        Args:
            dataset: map-style, or a list.
            sampler: yields indices of it.
            shard_sampler: give each loader worker its own part of the indices; without it every
                worker yields everything.
            shard_chunk_size: indices in a row that one worker takes.
        """
        if isinstance(dataset, IterableDataset):
            raise InputTypeError(
                f"ToIterableDataset takes a map-style dataset, not {type(dataset).__name__}."
            )
        self.dataset = dataset
        self.sampler = sampler
        self.shard_sampler = shard_sampler
        self.shard_chunk_size = shard_chunk_size

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        indices = iter(self.sampler)
        worker = get_worker_info()
        if self.shard_sampler and worker is not None:
            indices = shard(indices, worker.id, worker.num_workers, self.shard_chunk_size)
        for index in indices:
            yield self.dataset[index]


def shard(items: Iterator[Any], worker: int, num_workers: int, chunk_size: int) -> Iterator[Any]:
    """The chunks that fall to one worker when all take turns."""
    for turn in itertools.count():
        chunk = list(itertools.islice(items, chunk_size))
        if not chunk:
            return
        if turn % num_workers == worker:
            yield from chunk
