"""The sample stream: what comes at a position follows from the seed and the position alone."""

import itertools

import numpy as np
import pytest

from d2lite.data.samplers.stream import (
    WINDOW,
    BatchStream,
    CountedBatches,
    RepeatOrder,
    ShuffledOrder,
    group_rows,
)

# Of this implementation; the generator below, Philox, is one that numpy promises to keep.
RECORDED = [1, 6, 4, 2, 0, 5, 7, 3, 2, 4, 5, 6, 0, 3, 1, 7]


def take(stream, count):
    return list(itertools.islice(stream, count))


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_each_epoch_shows_every_index_once(size):
    order = ShuffledOrder(np.arange(size), seed=3)
    for epoch in range(3):
        assert sorted(order.indices(epoch * size, (epoch + 1) * size)) == list(range(size))


def test_epochs_and_seeds_have_orders_of_their_own():
    first = ShuffledOrder(np.arange(50), seed=3)
    assert not np.array_equal(first.epoch(0), first.epoch(1))
    assert not np.array_equal(first.epoch(0), ShuffledOrder(np.arange(50), seed=4).epoch(0))


def test_the_order_is_the_recorded_one():
    """A changed order would silently continue old runs as other runs."""
    order = ShuffledOrder(np.arange(8), seed=1)
    assert order.indices(0, 16).tolist() == RECORDED


def test_without_shuffling_the_order_is_the_given_one():
    order = ShuffledOrder(np.array([5, 2, 9]), seed=0, shuffle=False)
    assert order.indices(1, 6).tolist() == [2, 9, 5, 2, 9]


def test_any_range_of_positions_equals_the_walk_over_them():
    for order in (
        ShuffledOrder(np.arange(7), seed=5),
        RepeatOrder(np.array([1.0, 0.3, 2.5, 1 / 3, 0.0]), seed=5),
    ):
        walked = take(order.walk(), 200)
        for start, stop in [(0, 200), (13, 14), (29, 111), (150, 150)]:
            assert order.indices(start, stop).tolist() == walked[start:stop]
        assert take(order.walk(4, 3), 40) == walked[4:124:3]


def test_processes_that_outnumber_the_images_still_share_the_stream():
    order = ShuffledOrder(np.arange(2), seed=0)
    walked = take(order.walk(), 40)
    for rank in range(5):
        assert take(order.walk(rank, 5), 8) == walked[rank::5]


def test_repeats_follow_the_factors_within_one():
    factors = np.array([1.0, 1.3, 2.75, 0.25, 1 / 3])
    order = RepeatOrder(factors, seed=11)
    counts = np.zeros(5)
    for epoch in range(40):
        counts += np.bincount(order.epoch(epoch), minlength=5)
        assert (np.abs(counts - (epoch + 1) * factors) < 1).all()
        assert order.epoch_start(epoch + 1) - order.epoch_start(epoch) == len(order.epoch(epoch))


def test_whole_factors_repeat_alike_in_every_epoch():
    order = RepeatOrder(np.array([1.0, 3.0]), seed=0)
    assert [np.bincount(order.epoch(e)).tolist() for e in range(5)] == [[1, 3]] * 5


def test_the_epoch_of_a_position_is_found_far_away():
    order = RepeatOrder(np.array([1.1, 0.7, 1.9]), seed=2)
    for position in (0, 1, 999, 10**7):
        epoch = order.epoch_of(position)
        assert order.epoch_start(epoch) <= position < order.epoch_start(epoch + 1)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("size", [3, 57, 1000])
def test_batches_of_all_ranks_make_up_the_global_batch(grouped, size):
    groups = (np.arange(size) % 3 == 0).astype(np.int8) if grouped else None
    order = ShuffledOrder(np.arange(size), seed=7)
    whole = BatchStream(order, 8, groups=groups)
    parts = [BatchStream(order, 8, rank=r, world_size=4, groups=groups) for r in range(4)]
    streams = [take(part, 50) for part in parts]
    for t, batch in enumerate(take(whole, 50)):
        assert list(itertools.chain(*(stream[t] for stream in streams))) == batch
        assert len(batch) == 8


@pytest.mark.parametrize("start", [1, WINDOW - 1, WINDOW, 5 * WINDOW + 3])
def test_a_stream_started_later_is_the_same_stream(start):
    groups = (np.arange(60) % 4 == 0).astype(np.int8)
    order = ShuffledOrder(np.arange(60), seed=7)
    whole = take(BatchStream(order, 6, groups=groups), start + 10)
    late = BatchStream(ShuffledOrder(np.arange(60), seed=7), 6, groups=groups)
    late.start = start
    assert take(late, 10) == whole[start:]


def test_grouping_keeps_every_position_once_and_mixes_one_batch_of_a_window():
    groups = (np.arange(200) % 3 == 0).astype(np.int8)
    stream = BatchStream(ShuffledOrder(np.arange(200), seed=1), 4, groups=groups)
    for window in range(5):
        batches = [stream.batch(window * WINDOW + i) for i in range(WINDOW)]
        positions = [position for batch in batches for position, _ in batch]
        first = window * WINDOW * 4
        assert sorted(positions) == list(range(first, first + WINDOW * 4))
        mixed = [b for b in batches if len({int(groups[i]) for _, i in b}) > 1]
        assert len(mixed) <= 1


def test_grouping_does_not_change_what_a_position_holds():
    order = ShuffledOrder(np.arange(90), seed=1)
    held = order.indices(0, WINDOW * 4)
    grouped = BatchStream(order, 4, groups=(np.arange(90) % 2).astype(np.int8))
    for batch in take(grouped, WINDOW):
        assert all(held[position] == index for position, index in batch)


def test_rows_of_many_groups_are_formed_in_order_of_completion():
    rows = group_rows(np.array([0, 1, 0, 1, 2, 2, 0, 2]), row_size=2)
    assert rows.tolist() == [[0, 2], [1, 3], [4, 5], [6, 7]]


def test_a_counted_sampler_keeps_its_order_and_can_start_later():
    class Backwards:
        def __iter__(self):
            return iter(range(9, -1, -1))

    batches = list(CountedBatches(Backwards(), 3, rank=1, world_size=2))
    assert batches[0] == [(1, 9), (3, 8), (5, 7)]
    assert len(batches) == 3
    late = CountedBatches(Backwards(), 3, rank=1, world_size=2, drop_last=False)
    late.start = 2
    assert list(late) == [batches[2], [(19, 0)]]


def test_a_counted_sampler_can_be_grouped():
    groups = np.array([0, 1, 0, 1, 0])
    batches = list(CountedBatches(range(5), 2, groups=groups, drop_last=False))
    assert [[i for _, i in batch] for batch in batches] == [[0, 2], [1, 3], [4]]
