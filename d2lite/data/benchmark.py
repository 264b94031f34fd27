"""How fast the parts of a data loader are: dataset, mapper, worker processes, all processes."""

import itertools
import logging
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset, Sampler

from d2lite.utils import comm

from .build import (
    DatasetFromList,
    MapDataset,
    TrainingSampler,
    build_batch_data_loader,
    trivial_batch_collator,
)

__all__ = ["DataLoaderBenchmark", "iter_benchmark"]

logger = logging.getLogger(__name__)


def iter_benchmark(
    iterator: Iterator[Any], num_iter: int, warmup: int = 5, max_time_seconds: float = 60
) -> tuple[float, list[float]]:
    """Time the elements of an iterator.

    Args:
        iterator: what is measured.
        num_iter: elements to take.
        warmup: elements to take before the clock starts.
        max_time_seconds: stop after this time, with fewer elements.

    Returns:
        Seconds of an element on average, and of each element.
    """
    for _ in itertools.islice(iterator, warmup):
        pass
    seconds: list[float] = []
    begin = before = time.perf_counter()
    for _ in itertools.islice(iterator, num_iter):
        now = time.perf_counter()
        seconds.append(now - before)
        before = now
        if now - begin > max_time_seconds:
            break
    return (before - begin) / max(len(seconds), 1), seconds


class _Same(Dataset[Any]):
    """One sample again and again, so that only its way between processes costs time."""

    def __init__(self, sample: Any, size: int) -> None:
        self.sample, self.size = sample, size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        return self.sample


class DataLoaderBenchmark:
    """Measures a loader part by part and logs the times of each."""

    def __init__(
        self,
        dataset: Any,
        *,
        mapper: Callable[[Any], Any],
        sampler: Sampler[Any] | None = None,
        total_batch_size: int,
        num_workers: int = 0,
        max_time_seconds: int = 90,
        **options: Any,
    ) -> None:
        """Store the parts.

        Args:
            dataset: dataset dicts or a map-style dataset.
            mapper: element -> sample.
            sampler: yields the indices of this process; shuffles everything if None.
            total_batch_size: images of a batch over all processes.
            num_workers: loader processes.
            max_time_seconds: of each measurement.
            **options: further arguments of `build_batch_data_loader`, so that all arguments of
                `build_detection_train_loader` may be given.
        """
        if isinstance(dataset, list):
            dataset = DatasetFromList(dataset, copy=False)
        self.dataset, self.mapper = dataset, mapper
        self.sampler = TrainingSampler(len(dataset)) if sampler is None else sampler
        self.total_batch_size, self.num_workers = total_batch_size, num_workers
        self.per_gpu_batch_size = total_batch_size // comm.get_world_size()
        self.max_time_seconds = max_time_seconds
        self._options = options

    def benchmark_dataset(self, num_iter: int, warmup: int = 5) -> None:
        """Time reading elements of the dataset, in this process and without the mapper."""
        self._measure("dataset", (self.dataset[i] for i in self.sampler), num_iter, warmup)

    def benchmark_mapper(self, num_iter: int, warmup: int = 5) -> None:
        """Time dataset and mapper, in this process."""
        self._measure("dataset and mapper", self._samples(), num_iter, warmup)

    def benchmark_workers(self, num_iter: int, warmup: int = 10) -> None:
        """Time batches of the whole loader, with 0 and with the given number of workers."""
        for workers in dict.fromkeys((0, self.num_workers)):
            self._measure(f"{workers} workers", self._batches(workers), num_iter, warmup)

    def benchmark_IPC(self, num_iter: int, warmup: int = 10) -> None:  # noqa: N802 - the old name
        """Time the way of ready batches from the workers to this process."""
        ready = _Same(next(self._samples()), (num_iter + warmup + 1) * self.per_gpu_batch_size)
        loader = DataLoader(
            ready,
            batch_size=self.per_gpu_batch_size,
            num_workers=self.num_workers,
            collate_fn=trivial_batch_collator,
        )
        self._measure("between processes", loader, num_iter, warmup)

    def benchmark_distributed(self, num_iter: int, warmup: int = 10) -> None:
        """Time batches of the whole loader in all processes of the run at once."""
        name = f"{comm.get_world_size()} processes with {self.num_workers} workers each"
        self._measure(name, self._batches(self.num_workers), num_iter, warmup)

    def _samples(self) -> Iterator[Any]:
        mapped = MapDataset(self.dataset, self.mapper)
        return (mapped[i] for i in self.sampler)

    def _batches(self, num_workers: int) -> Iterable[Any]:
        mapped = MapDataset(self.dataset, self.mapper)
        size = self.total_batch_size
        options = {**self._options, "num_workers": num_workers}
        return build_batch_data_loader(mapped, self.sampler, size, **options)

    def _measure(self, what: str, source: Iterable[Any], num_iter: int, warmup: int) -> None:
        mean, seconds = iter_benchmark(iter(source), num_iter, warmup, self.max_time_seconds)
        middle = statistics.median(seconds) if seconds else 0.0
        means = comm.all_gather(mean)
        logger.info(
            "%s: %.1f a second in each process (median %.4f s, slowest process %.4f s)",
            what,
            1 / max(mean, 1e-9),
            middle,
            max(means),
        )
