"""Samplers used alone, as a user's own loop does."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from d2lite.data.samplers import (
    GroupedBatchSampler,
    InferenceSampler,
    RandomSubsetTrainingSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)
from d2lite.data.samplers.distributed_sampler import stream_order
from d2lite.utils import comm
from d2lite.utils.errors import DataError


def take(sampler, count):
    return list(itertools.islice(sampler, count))


def test_the_training_sampler_is_the_same_at_every_iteration_over_it():
    sampler = TrainingSampler(10, seed=4)
    assert take(sampler, 35) == take(sampler, 35) == take(TrainingSampler(10, seed=4), 35)
    assert sorted(take(sampler, 10)) == list(range(10))


def test_ranks_take_turns_in_one_order(as_rank):
    alone = take(TrainingSampler(11, seed=4), 60)
    for rank in range(3):
        as_rank(rank, 3)
        assert take(TrainingSampler(11, seed=4), 20) == alone[rank::3]


def test_without_a_seed_one_is_drawn():
    assert isinstance(TrainingSampler(4).seed, int)


def test_an_unshuffled_sampler_counts():
    assert take(TrainingSampler(3, shuffle=False), 7) == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize("size", [0, -1])
def test_no_images_is_an_error_with_advice(size):
    with pytest.raises(DataError, match="FILTER_EMPTY_ANNOTATIONS"):
        TrainingSampler(size)


def test_a_size_that_is_no_number_is_refused():
    with pytest.raises(TypeError, match="float"):
        TrainingSampler(3.0)


def test_a_subset_stays_the_same_over_epochs():
    sampler = RandomSubsetTrainingSampler(20, 0.25, seed_shuffle=1, seed_subset=2)
    epochs = [take(sampler, 15)[i : i + 5] for i in (0, 5, 10)]
    assert len({frozenset(epoch) for epoch in epochs}) == 1
    assert len(set(epochs[0])) == 5
    other = RandomSubsetTrainingSampler(20, 0.25, seed_shuffle=1, seed_subset=3)
    assert set(take(other, 5)) != set(epochs[0])


@pytest.mark.parametrize("ratio", [0, -0.5, 1.5])
def test_a_subset_of_nothing_or_more_than_all_is_refused(ratio):
    with pytest.raises(DataError, match="RANDOM_SUBSET_RATIO"):
        RandomSubsetTrainingSampler(20, ratio)


def test_repeat_factors_follow_the_formula_of_lvis():
    """Source: Gupta et al. 2019, appendix B.2: r = max(1, sqrt(t / f))."""
    rare, common = {"category_id": 1}, {"category_id": 0}
    dicts = [{"annotations": [common, common]} for _ in range(9)]
    dicts += [{"annotations": [common, rare]}, {"annotations": []}]
    asked = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(dicts, 0.5)
    assert asked.tolist() == pytest.approx([1.0] * 9 + [math.sqrt(0.5 * 11), 1.0])
    strong = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
        dicts, 0.5, sqrt=False
    )
    assert strong[9].item() == pytest.approx(0.5 * 11)
    assert strong.dtype == torch.float32


def test_repeated_images_come_as_often_as_asked():
    sampler = RepeatFactorTrainingSampler(torch.tensor([1.0, 2.5]), seed=0)
    drawn = take(sampler, 350)
    assert drawn.count(1) == pytest.approx(250, abs=2)
    assert drawn == take(RepeatFactorTrainingSampler(torch.tensor([1.0, 2.5]), seed=0), 350)


@pytest.mark.parametrize("factors", [[0.0, 0.0], [1.0, -1.0], [float("nan")]])
def test_senseless_repeat_factors_are_refused(factors):
    with pytest.raises(DataError, match="Repeat factors"):
        RepeatFactorTrainingSampler(torch.tensor(factors))


@given(size=st.integers(0, 50), world_size=st.integers(1, 9))
def test_inference_takes_each_image_once_over_all_ranks(size, world_size):
    parts = []
    with pytest.MonkeyPatch.context() as patch:
        for rank in range(world_size):
            patch.setattr(comm, "get_rank", lambda rank=rank: rank)
            patch.setattr(comm, "get_world_size", lambda: world_size)
            parts.append(list(InferenceSampler(size)))
            assert len(InferenceSampler(size)) == len(parts[-1])
    assert list(itertools.chain(*parts)) == list(range(size))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_grouped_batches_hold_one_group_each():
    sampler = GroupedBatchSampler(TrainingSampler(9, seed=0), [0, 1, 0, 1, 5, 0, 1, 0, 5], 2)
    for batch in take(sampler, 20):
        assert len({sampler.group_ids[i] for i in batch}) == 1
        assert len(batch) == 2
    with pytest.raises(TypeError, match="no length"):
        len(sampler)


def test_a_grouped_sampler_wants_a_sampler():
    with pytest.raises(ValueError, match="found list"):
        GroupedBatchSampler([0, 1], [0, 0], 2)


def test_the_parts_of_processes_follow_a_rule_that_can_be_replaced(as_rank):
    parts = [list(InferenceSampler._get_local_indices(11, 4, rank)) for rank in range(4)]
    assert parts == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10]]

    class Turns(InferenceSampler):
        @staticmethod
        def _get_local_indices(total_size, world_size, rank):
            return range(rank, total_size, world_size)

    as_rank(1, 4)
    assert list(Turns(11)) == [1, 5, 9]
    assert len(Turns(11)) == 3


def test_a_sampler_with_an_order_of_its_own_is_followed(as_rank):
    class Same(TrainingSampler):
        def _infinite_indices(self):
            yield from itertools.cycle([7, 8])

    class Fixed(TrainingSampler):
        def __iter__(self):
            return itertools.cycle([5, 6])

    assert stream_order(TrainingSampler(9, seed=1)) is not None
    assert stream_order(Same(9)) is stream_order(Fixed(9)) is None
    as_rank(1, 2)
    assert list(itertools.islice(Same(9, seed=1), 3)) == [8, 8, 8]


@pytest.mark.parametrize(
    "sampler",
    [
        TrainingSampler(4, shuffle=False, seed=5),
        RandomSubsetTrainingSampler(4, 0.5, False, 5),
        RepeatFactorTrainingSampler([1.0] * 4, shuffle=False, seed=5),
    ],
)
def test_an_own_order_finds_what_it_is_made_of(sampler):
    """Subclasses written for detectron2 read these in `_infinite_indices`."""
    assert (sampler._size, sampler._shuffle, sampler._seed) == (4, False, 5)
