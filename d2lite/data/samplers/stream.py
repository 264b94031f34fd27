"""The stream of training samples, a pure function of (seed, position).

Position p of the endless stream holds one dataset index. Epoch after epoch each image comes in
an order that follows from (seed, epoch) alone, and a global batch t is a fixed set of B
positions, whatever number of processes and workers share it. So there is no state to save but t.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import numpy as np
from torch.utils.data import Sampler

from d2lite.utils.keyed_rng import DrawPurpose, draw_key

# Batches of one shape are formed inside windows of this many batches. At most one batch of a
# window mixes the two shapes, so the padding lost is small, and finding batch t costs one window.
WINDOW = 32

# Counters that keep the order's keys apart from those of samples (seed, position) and trainer.
_ORDER = (0, DrawPurpose.SAMPLE_ORDER)
_PHASES = (0, 0, DrawPurpose.REPEAT_PHASES)

T = TypeVar("T")


class _Recent(Generic[T]):
    """A function of an integer that remembers its last results, and can be pickled."""

    def __init__(self, make: Callable[[int], T], keep: int) -> None:
        self._make, self._keep = make, keep
        self._results: dict[int, T] = {}

    def __call__(self, key: int) -> T:
        if key not in self._results:
            while len(self._results) >= self._keep:
                del self._results[next(iter(self._results))]
            self._results[key] = self._make(key)
        return self._results[key]


def keyed_shuffle(values: np.ndarray, *key: int) -> np.ndarray:
    """The values in an order that depends on the key alone, in every version of numpy.

    It sorts by raw Philox output: numpy promises that stream to stay, not that of `permutation`.
    """
    bits = np.random.Philox(key=draw_key(*key)).random_raw(len(values))
    return values[np.argsort(bits, kind="stable")]


def epochs_to_iterations(epochs: float, batches_per_epoch: float) -> int:
    """The number of iterations that show every image so many times; at least 1.

    Args:
        epochs: may be a fraction.
        batches_per_epoch: may be a fraction.
    """
    # The last image of the last epoch counts; a rounding error of floats does not.
    return max(math.ceil(epochs * batches_per_epoch - 1e-6), 1)


def batch_count(samples: Any, batch_size: int, *, is_grouped: bool, drop_last: bool) -> int:
    """How many batches some samples fill, with or without one that they fill in part.

    Raises:
        TypeError: if they are grouped by shape, or have no length.
    """
    if is_grouped:
        raise TypeError("Batches that are grouped by shape have no length before they are made.")
    whole, rest = divmod(len(samples), batch_size)
    return whole + (rest > 0 and not drop_last)


class EpochOrder:
    """Which index each position of the stream holds, epoch by epoch."""

    mean_epoch_size: float

    def epoch_start(self, epoch: int) -> int:
        """The position at which an epoch begins; grows with the epoch."""
        raise NotImplementedError

    def epoch(self, epoch: int) -> np.ndarray:
        """(size of this epoch,) int64 indices in order."""
        raise NotImplementedError

    def epoch_of(self, position: int) -> int:
        """The epoch that a position belongs to."""
        epoch = int(position / self.mean_epoch_size)
        while self.epoch_start(epoch) > position:
            epoch -= 1
        while self.epoch_start(epoch + 1) <= position:
            epoch += 1
        return epoch

    def indices(self, start: int, stop: int) -> np.ndarray:
        """(stop - start,) int64 indices of the positions from `start` on."""
        parts = []
        epoch = self.epoch_of(start)
        while start < stop:
            first = self.epoch_start(epoch)
            parts.append(self.epoch(epoch)[start - first : stop - first])
            start += len(parts[-1])
            epoch += 1
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

    def walk(self, start: int = 0, step: int = 1) -> Iterator[int]:
        """Endlessly the indices of positions start, start + step, ..."""
        for epoch in itertools.count(self.epoch_of(start)):
            skipped = start - self.epoch_start(epoch)
            order = self.epoch(epoch)[skipped::step]
            yield from order.tolist()
            start += len(order) * step


class ShuffledOrder(EpochOrder):
    """Every index once an epoch, in an order drawn again for each epoch."""

    def __init__(self, indices: np.ndarray, seed: int, *, shuffle: bool = True) -> None:
        """Fix the order.

        Args:
            indices: (size,) int64 what an epoch consists of, at least one.
            seed: of the run.
            shuffle: False keeps the given order in every epoch.
        """
        self._indices = indices
        self._seed = seed
        self._shuffle = shuffle
        self.mean_epoch_size = float(len(indices))
        # An epoch is asked for once a window: small datasets pass many times through a window.
        self.epoch = _Recent(self._make_epoch, keep=4)  # type: ignore[assignment, method-assign]

    def epoch_start(self, epoch: int) -> int:
        """The position at which an epoch begins."""
        return epoch * len(self._indices)

    def _make_epoch(self, epoch: int) -> np.ndarray:
        if not self._shuffle:
            return self._indices
        return keyed_shuffle(self._indices, self._seed, epoch, *_ORDER)


class RepeatOrder(EpochOrder):
    """Index i comes `factors[i]` times an epoch on average, and evenly.

    Of a factor 1.3, every epoch shows the image once or twice, and e epochs show it 1.3 e times,
    off by less than one: the fractions are carried over instead of being drawn again. So the
    start of any epoch is known without counting through the earlier ones.
    """

    def __init__(self, factors: np.ndarray, seed: int, *, shuffle: bool = True) -> None:
        """Fix the order.

        Args:
            factors: (size,) float64 >= 0, with a positive sum.
            seed: of the run; it sets, for each image, in which epochs the fraction counts.
            shuffle: False keeps the indices ascending in every epoch.
        """
        self._factors = factors
        self._seed = seed
        self._shuffle = shuffle
        bits = np.random.Philox(key=draw_key(seed, *_PHASES)).random_raw(len(factors))
        self._phases = (bits >> np.uint64(12)) / 2.0**52
        self.mean_epoch_size = float(factors.sum())
        self.epoch_start = _Recent(self._start, keep=8)  # type: ignore[assignment, method-assign]
        self.epoch = _Recent(self._make_epoch, keep=4)  # type: ignore[assignment, method-assign]

    def _shown_before(self, epoch: int) -> np.ndarray:
        """(size,) int64: how often each index came in the epochs before this one."""
        # Rounded, since 3 * (1 / 3) must count as 1 whatever the last bit says.
        return np.floor(np.round(epoch * self._factors + self._phases, 9)).astype(np.int64)

    def _start(self, epoch: int) -> int:
        return int((self._shown_before(epoch) - self._shown_before(0)).sum())

    def _make_epoch(self, epoch: int) -> np.ndarray:
        counts = self._shown_before(epoch + 1) - self._shown_before(epoch)
        indices = np.repeat(np.arange(len(counts)), counts)
        return keyed_shuffle(indices, self._seed, epoch, *_ORDER) if self._shuffle else indices


class BatchStream(Sampler[Any]):
    """The endless global batches, of which each process takes its slice.

    Iterating yields lists of (position, index): this process's part of batch `start`, start + 1...
    """

    def __init__(
        self,
        order: EpochOrder,
        batch_size: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        groups: np.ndarray | None = None,
    ) -> None:
        """Lay batches over the stream.

        Args:
            order: what each position holds.
            batch_size: images of a global batch, a multiple of `world_size`.
            rank: of this process.
            world_size: number of processes.
            groups: (size of dataset,) the shape group of each index; None leaves all batches in
                order of position.
        """
        self.order = order
        self.batch_size = batch_size
        self.start = 0
        self._per_rank = batch_size // world_size
        self._first = rank * self._per_rank
        self._groups = groups
        self._window = _Recent(self._make_window, keep=1)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        mine = slice(self._first, self._first + self._per_rank)
        for batch in itertools.count(self.start):
            yield self.batch(batch)[mine]

    def batch(self, batch: int) -> list[tuple[int, int]]:
        """All (position, index) pairs of one global batch, of every process."""
        positions, indices = self._window(batch // WINDOW)
        row = batch % WINDOW
        return list(zip(positions[row].tolist(), indices[row].tolist(), strict=True))

    def _make_window(self, window: int) -> tuple[np.ndarray, np.ndarray]:
        """(WINDOW, batch_size) positions, and the indices they hold."""
        size = WINDOW * self.batch_size
        positions = np.arange(window * size, (window + 1) * size)
        indices = self.order.indices(window * size, (window + 1) * size)
        if self._groups is not None:
            chosen = group_rows(self._groups[indices], self.batch_size).reshape(-1)
            positions, indices = positions[chosen], indices[chosen]
        return positions.reshape(WINDOW, -1), indices.reshape(WINDOW, -1)


def group_rows(groups: np.ndarray, row_size: int) -> np.ndarray:
    """Cut a window into rows of equal group; what is left over of each shares the last ones.

    Args:
        groups: (rows * row_size,) the group of each place.
        row_size: places of a row.

    Returns:
        (rows, row_size) int64 places; rows are in the order in which they would be complete.
    """
    rows, left_over = [], []
    for group in np.unique(groups):
        places = np.flatnonzero(groups == group)
        full = len(places) - len(places) % row_size
        rows.append(places[:full].reshape(-1, row_size))
        left_over.append(places[full:])
    rows.append(np.concatenate(left_over).reshape(-1, row_size))
    table = np.concatenate(rows)
    return table[np.argsort(table.max(axis=1), kind="stable")]


class CountedBatches(Sampler[Any]):
    """Batches of this process from a sampler of unknown kind, which can only be counted through.

    Position of the k-th index of this process is k * world_size + rank, and a start at batch t
    takes t batches from the sampler first.
    """

    def __init__(
        self,
        sampler: Sampler[Any],
        batch_size: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        groups: np.ndarray | None = None,
        drop_last: bool = True,
    ) -> None:
        """Make batches of what a sampler yields.

        Args:
            sampler: yields this process's indices.
            batch_size: images in a batch of this process.
            rank: of this process.
            world_size: number of processes.
            groups: as in `BatchStream`.
            drop_last: leave out what does not fill a batch when the sampler ends.
        """
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.start = 0
        self._rank, self._world_size = rank, world_size
        self._groups = groups

    def __len__(self) -> int:
        is_grouped = self._groups is not None
        return batch_count(
            self.sampler, self.batch_size, is_grouped=is_grouped, drop_last=self.drop_last
        )

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return itertools.islice(self._batches(), self.start, None)

    def _batches(self) -> Iterator[list[tuple[int, int]]]:
        waiting: dict[int, list[tuple[int, int]]] = {}
        for count, index in enumerate(self.sampler):
            group = 0 if self._groups is None else int(self._groups[index])
            batch = waiting.setdefault(group, [])
            batch.append((count * self._world_size + self._rank, index))
            if len(batch) == self.batch_size:
                yield waiting.pop(group)
        if not self.drop_last:
            yield from waiting.values()
