"""The training loader: carries out the sample stream in any number of worker processes."""

import itertools
import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, get_worker_info

from d2lite.data.common import MapDataset, refused_everything, substitutes
from d2lite.data.records.faults import too_much_is_bad
from d2lite.data.samplers.aspect_ratio import AspectRatioGroupedDataset
from d2lite.data.samplers.stream import batch_count
from d2lite.utils.env import seed_all_rng
from d2lite.utils.errors import DataError, MissingFileError, UserError
from d2lite.utils.interrupts import interrupts_held_back
from d2lite.utils.keyed_rng import at_position, draw_key, keyed_draws

from .worker_signals import leave_signals_to_parent
from .worker_transport import PackedBatch, lack_of_means, log_pipes, naming_the_limit

logger = logging.getLogger(__name__)

Collate = Callable[[list[Any]], Any]


def trivial_batch_collator(batch: list[Any]) -> list[Any]:
    """A batch is the list of its samples: images of different size do not stack."""
    return batch


def worker_init_reset_seed(worker_id: int) -> None:
    """Make a loader worker ready: its own seed, and one thread for each library.

    Workers are the parallelism; libraries that start a thread for each core on top of it make
    every worker wait for all others.

    Args:
        worker_id: number of the worker; torch already counted it into the worker's seed.
    """
    seed_all_rng(torch.initial_seed() % 2**31)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    leave_signals_to_parent()


class _Failure:
    """A user's mistake met in a worker, on its way to the process that can tell."""

    def __init__(self, error: UserError) -> None:
        self.error = error


class _Substitute:
    """A sample that took the place of bad images, which the process that trains is to learn of."""

    def __init__(self, sample: Any, bad: dict[int, str]) -> None:
        self.sample, self.bad = sample, bad


class _BatchWithSubstitutes:
    """A collated batch, and the bad images in whose places some of its samples came."""

    def __init__(self, batch: Any, bad: dict[int, str]) -> None:
        self.batch, self.bad = batch, bad


class _Reporting(Dataset[Any]):
    """A dataset that returns a user's mistake instead of raising it.

    Raised in a worker it would arrive as a long text of traces around the message.
    """

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: Any) -> Any:
        try:
            return self.dataset[index]
        except UserError as error:
            return _Failure(error)


class _Collating:
    """The caller's collate function, which a failure goes around."""

    def __init__(self, collate: Collate) -> None:
        self.collate = collate
        self.packs = False

    def __call__(self, batch: Any) -> Any:
        collated = self._collated(batch)
        return PackedBatch(collated) if self.packs and get_worker_info() else collated

    def _collated(self, batch: Any) -> Any:
        if isinstance(batch, list):
            failures = (sample for sample in batch if isinstance(sample, _Failure))
            failure = next(failures, None)
            if failure is not None:
                return failure
            replaced = [sample for sample in batch if isinstance(sample, _Substitute)]
            if replaced:
                bad = {index: why for one in replaced for index, why in one.bad.items()}
                samples = [s.sample if isinstance(s, _Substitute) else s for s in batch]
                return _BatchWithSubstitutes(self.collate(samples), bad)
        return self.collate(batch)


class ReportingLoader(DataLoader[Any]):
    """A torch DataLoader whose workers pass a user's mistake on with its own message."""

    def __init__(self, dataset: Dataset[Any], *, collate_fn: Collate | None = None, **kwargs: Any):
        """Take what torch's DataLoader takes.

        Args:
            dataset: map-style or iterable.
            collate_fn: list of samples -> batch; None leaves the list.
            kwargs: further arguments of torch's DataLoader.
        """
        kwargs.setdefault("worker_init_fn", worker_init_reset_seed)
        self._collating = _Collating(collate_fn or trivial_batch_collator)
        super().__init__(
            dataset if isinstance(dataset, IterableDataset) else _Reporting(dataset),
            collate_fn=self._collating,
            **kwargs,
        )

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # torch names its own iterator
        if self.num_workers == 0:
            batches = super().__iter__()
        else:
            if lack := lack_of_means():
                log_pipes(lack)
                self._collating.packs = True
            # A worker that Ctrl-C ends before it has read its dataset would be written to for ever.
            with naming_the_limit(self.num_workers), interrupts_held_back():
                batches = super().__iter__()
        for batch in batches:
            if isinstance(batch, PackedBatch):
                batch = batch.unpack()
            if isinstance(batch, _Failure):
                raise batch.error
            yield batch


class StreamDataset(Dataset[Any]):
    """(position, index) -> the sample at that position, with all draws keyed by the position."""

    def __init__(
        self, dataset: Dataset[Any], seed: int, *, max_bad_share: float | None = None
    ) -> None:
        """Wrap a dataset.

        Args:
            dataset: map-style; if it is a `MapDataset`, what its function refuses is replaced.
            seed: of the stream.
            max_bad_share: the share of elements that may be unreadable (`DataError`, missing
                file) and are replaced; None raises what the first one raises.
        """
        self.dataset = dataset
        self.seed = seed
        self.max_bad_share = max_bad_share
        # A subclass with its own __getitem__ finds substitutes by itself.
        self._load = dataset.__getitem__
        if isinstance(dataset, MapDataset) and type(dataset).__getitem__ is MapDataset.__getitem__:
            self._load = dataset.try_get

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, place: tuple[int, int]) -> Any:
        position, index = place
        key = draw_key(self.seed, position)
        bad: dict[int, str] = {}
        among = getattr(self.dataset, "substitutes", partial(substitutes, len(self)))
        attempts = enumerate(among(index, self.seed, position))
        for attempt, candidate in attempts:
            # Each candidate has its own draws: those of the first must not reach the second.
            draws = keyed_draws(draw_key(key, attempt) if attempt else key)
            with draws, at_position(position):
                try:
                    sample = self._load(candidate)
                except (DataError, MissingFileError) as error:
                    if self.max_bad_share is None:
                        raise
                    bad[candidate] = str(error)
                    if len(bad) > self.max_bad_share * len(self):
                        raise self.too_many(bad) from error
                    continue
            if sample is not None:
                sample = _tagged(sample, key)
                return _Substitute(sample, bad) if bad else sample
        if bad:
            raise DataError(
                f"Element {index} and {len(bad) - 1} others that were drawn in its place cannot "
                f"be used. The first one: {next(iter(bad.values()))}"
            )
        raise refused_everything(index)

    def too_many(self, bad: dict[int, str]) -> DataError:
        """The error for more bad elements than may be.

        Args:
            bad: index -> why.
        """
        first = next(iter(bad.values()))
        return too_much_is_bad("images", len(bad), len(self), self.max_bad_share or 0.0, first)


class IterableStream(IterableDataset[Any]):
    """Batches of an iterable dataset, each sample's draws keyed by how many came before it.

    Without random access the count is all there is: with several workers, each counts its own.
    """

    def __init__(
        self,
        dataset: IterableDataset[Any],
        seed: int,
        batch_size: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        aspect_ratio_grouping: bool = False,
        drop_last: bool = True,
    ) -> None:
        """Wrap a dataset.

        Args:
            dataset: yields samples; it shards itself over workers and processes.
            seed: of the stream.
            batch_size: samples in a batch of this process.
            rank: of this process.
            world_size: number of processes.
            aspect_ratio_grouping: batch wide images with wide ones.
            drop_last: leave out what does not fill a batch at the end.
        """
        self.dataset, self.seed, self.batch_size = dataset, seed, batch_size
        self._rank, self._world_size = rank, world_size
        self._grouped, self._drop_last = aspect_ratio_grouping, drop_last

    def __len__(self) -> int:
        return batch_count(
            self.dataset, self.batch_size, is_grouped=self._grouped, drop_last=self._drop_last
        )

    def __iter__(self) -> Iterator[list[Any]]:
        if self._grouped:
            yield from AspectRatioGroupedDataset(self._samples(), self.batch_size)
            return
        samples = self._samples()
        while batch := list(itertools.islice(samples, self.batch_size)):
            if len(batch) < self.batch_size and self._drop_last:
                return
            yield batch

    def _samples(self) -> Iterator[Any]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        source = iter(self.dataset)
        for count in itertools.count():
            position = (count * workers + number) * self._world_size + self._rank
            key = draw_key(self.seed, position)
            with keyed_draws(key), at_position(position):
                try:
                    sample = next(source)
                except StopIteration:
                    return
            yield _tagged(sample, key)


class StreamLoader(ReportingLoader):
    """The training loader: endless batches, from whichever batch one asks for.

    Attributes:
        batches_per_epoch: batches that show every image once, on average.
        bad_images: index -> why, of the images that others were taken for.
    """

    def __init__(
        self,
        dataset: StreamDataset | IterableStream,
        batches: Sampler[Any] | None,
        *,
        batches_per_epoch: float,
        **kwargs: Any,
    ) -> None:
        """Join the samples and the batches.

        Args:
            dataset: what makes a sample of a place, or yields batches by itself.
            batches: yields lists of places and has an attribute `start`; None with an iterable.
            batches_per_epoch: batches that show every image once, on average.
            kwargs: further arguments of `ReportingLoader`.
        """
        if kwargs.get("num_workers", 0) == 0:
            kwargs.pop("prefetch_factor", None)  # torch refuses it without workers
            kwargs["persistent_workers"] = False
        # Workers draw their base seed from here and not from the global generator, whose state
        # would otherwise depend on how often a loader was started.
        generator = torch.Generator().manual_seed(dataset.seed)
        sampling = {"batch_size": None} if batches is None else {"batch_sampler": batches}
        super().__init__(dataset, generator=generator, **sampling, **kwargs)
        self.batches_per_epoch = batches_per_epoch
        self.bad_images: dict[int, str] = {}
        self._batches = batches
        self._skip = 0

    def __bool__(self) -> bool:
        """True: there always is a next batch; the length, which torch would ask for, is endless."""
        return True

    def seek(self, batch: int) -> None:
        """Let the next `iter()` start at a global batch.

        Args:
            batch: its number, from 0; batch t is what iteration t trains on.
        """
        if batch < 0:
            raise DataError(f"Batches count from 0; cannot start at batch {batch}.")
        if self._batches is None:
            self._skip = batch
        else:
            self._batches.start = batch  # type: ignore[attr-defined]

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # torch names its own iterator
        for batch in itertools.islice(super().__iter__(), self._skip, None):
            if isinstance(batch, _BatchWithSubstitutes):
                self._note_bad(batch.bad)
                yield batch.batch
            else:
                yield batch

    def _note_bad(self, bad: dict[int, str]) -> None:
        """Name each bad image once, and stop when they are too many.

        Counted here and not where images are read, since each worker meets a part of them.
        """
        dataset: Any = self.dataset
        if isinstance(dataset, _Reporting):
            dataset = dataset.dataset
        for index, why in bad.items():
            if index not in self.bad_images:
                self.bad_images[index] = why
                logger.warning(
                    "Another image is trained on in place of a bad one (%d so far): %s",
                    len(self.bad_images),
                    why,
                )
        limit = dataset.max_bad_share * len(dataset)
        if len(self.bad_images) > limit:
            raise dataset.too_many(self.bad_images)


def _tagged(sample: Any, key: int) -> Any:
    """The sample with the key of its draws, by which the model keys its own."""
    if isinstance(sample, dict):
        sample["draw_key"] = key
    return sample
