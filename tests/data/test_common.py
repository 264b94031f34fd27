"""Datasets as the loader sees them."""

import pickle
import tempfile
from functools import partial

import pytest
from torch.utils.data import DataLoader, Dataset, IterableDataset

from d2lite.data import DatasetFromList, MapDataset, ToIterableDataset
from d2lite.data.common import MAX_TRIES, set_default_dataset_from_list_serialize_method
from d2lite.data.samplers import InferenceSampler
from d2lite.data.samplers.aspect_ratio import AspectRatioGroupedDataset, shape_groups
from d2lite.utils.errors import DataError

ITEMS = [{"file_name": f"{i}.jpg", "boxes": list(range(i))} for i in range(9)]


@pytest.mark.parametrize("serialize", [True, False])
def test_a_list_comes_back_element_by_element(serialize):
    dataset = DatasetFromList(ITEMS, serialize=serialize)
    assert len(dataset) == 9
    assert [dataset[i] for i in range(9)] == ITEMS
    assert dataset[-1] == ITEMS[-1]
    with pytest.raises(IndexError):
        dataset[9]


@pytest.mark.parametrize("serialize", [True, False])
def test_changing_an_element_does_not_change_the_dataset(serialize):
    dataset = DatasetFromList(ITEMS, serialize=serialize)
    dataset[3]["boxes"].append("spoilt")
    assert dataset[3] == ITEMS[3]


def test_without_copying_the_element_itself_comes():
    assert DatasetFromList(ITEMS, copy=False, serialize=False)[2] is ITEMS[2]


def test_an_empty_list_is_a_dataset():
    assert len(DatasetFromList([])) == 0


def test_equal_datasets_keep_their_elements_once(tmp_path, monkeypatch):
    """So the processes of a machine that read the same annotations share them."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    items = [{"file_name": f"{i}.jpg", "text": "x" * 200_000} for i in range(9)]
    first, second = (DatasetFromList(items)._items for _ in range(2))
    assert first._shared.path == second._shared.path is not None
    assert [second[i] for i in range(9)] == items


def test_serialised_elements_can_be_pickled():
    store = pickle.loads(pickle.dumps(DatasetFromList(ITEMS)._items))
    assert [store[i] for i in range(9)] == ITEMS


def test_another_way_to_store_can_be_chosen():
    assert len(DatasetFromList(ITEMS, serialize=lambda items: items[:2])) == 2
    with set_default_dataset_from_list_serialize_method(lambda items: items[:3]):
        assert len(DatasetFromList(ITEMS)) == 3
    assert len(DatasetFromList(ITEMS)) == 9


def test_a_mapped_dataset_replaces_what_the_function_refuses():
    dataset = MapDataset(list(range(10)), lambda x: None if x % 2 else x)
    samples = [dataset[i] for i in range(10)]
    assert all(x % 2 == 0 for x in samples)
    assert samples[::2] == [0, 2, 4, 6, 8]
    assert [dataset[i] for i in range(10)] == samples


def test_a_function_that_refuses_everything_ends_with_an_error():
    calls = []
    dataset = MapDataset([1, 2], lambda x: calls.append(x))
    with pytest.raises(DataError, match="returned None for element 0"):
        dataset[0]
    assert len(calls) == MAX_TRIES


class Numbers(IterableDataset):
    def __iter__(self):
        return iter(range(6))


def test_an_iterable_dataset_is_mapped_as_an_iterable():
    mapped = MapDataset(Numbers(), lambda x: None if x == 3 else x * 10)
    assert isinstance(mapped, IterableDataset)
    assert list(mapped) == [0, 10, 20, 40, 50]


def test_mapped_datasets_pickle():
    assert pickle.loads(pickle.dumps(MapDataset([3], str)))[0] == "3"


class Squares(Dataset):
    def __len__(self):
        return 7

    def __getitem__(self, i):
        return i * i


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("chunk", [1, 3])
def test_an_iterable_view_shares_the_sampler_between_workers(workers, chunk):
    view = ToIterableDataset(Squares(), InferenceSampler(7), shard_chunk_size=chunk)
    assert len(view) == 7
    found = list(DataLoader(view, batch_size=None, num_workers=workers))
    assert sorted(found) == [i * i for i in range(7)]


def test_an_iterable_view_of_a_list_follows_the_sampler():
    assert list(ToIterableDataset([5, 6, 7], [2, 0])) == [7, 5]


def test_an_iterable_view_of_an_iterable_is_refused():
    with pytest.raises(TypeError, match="map-style"):
        ToIterableDataset(Numbers(), InferenceSampler(6))


def test_wide_images_are_batched_with_wide_ones():
    shapes = [(4, 3), (3, 4), (3, 3), (5, 4), (9, 1)]
    samples = [{"width": w, "height": h} for w, h in shapes]
    batches = list(AspectRatioGroupedDataset(samples, 2))
    assert batches == [[samples[1], samples[2]], [samples[0], samples[3]]]
    assert shape_groups(samples).tolist() == [0, 1, 1, 0, 0]


def test_shapes_are_not_asked_of_a_dataset_that_would_have_to_decode():
    assert shape_groups(Squares()) is None
    assert shape_groups([{"file_name": "a"}]) is None


def plus(step, number):
    return number + step


@pytest.mark.parametrize(
    "make", [lambda s: lambda n: n + s, lambda s: partial(lambda k, n: n + k, s)]
)
def test_functions_without_a_name_reach_started_processes(make):
    for dataset in (DatasetFromList([4, 5, 6]), Numbers()):
        again = pickle.loads(pickle.dumps(MapDataset(dataset, make(100))))
        assert next(iter(again)) in (100, 104)
    assert pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(MapDataset([1], make(2))))))[0] == 3


def test_a_function_with_a_name_is_pickled_as_it_is():
    """Tensors inside of it are shared between processes, which the wrapper would copy."""
    assert type(pickle.loads(pickle.dumps(MapDataset([1], partial(plus, 2))))._map_func) is partial


def test_a_replaced_function_is_the_one_that_maps():
    dataset = MapDataset([1, 2], str)
    dataset._map_func = lambda number: -number
    assert [dataset[0], dataset._dataset[1]] == [-1, 2]


def test_substitutes_come_from_the_candidates_that_code_of_others_set():
    dataset = MapDataset(list(range(50)), lambda x: None if x % 2 else x)
    assert dataset._fallback_candidates == set(range(50))
    dataset._fallback_candidates = {6, 8}
    assert {dataset[i] for i in range(1, 50, 2)} == {6, 8}
    dataset._fallback_candidates.discard(8)
    assert dataset[3] == 6
    assert dataset._rng.random() == MapDataset([1], str)._rng.random()


def test_waiting_samples_are_in_the_buckets():
    samples = [{"width": w, "height": h} for w, h in [(4, 3), (3, 4), (5, 4), (6, 4)]]
    grouped = AspectRatioGroupedDataset(samples, 2)
    assert next(iter(grouped)) == [samples[0], samples[2]]
    assert grouped._buckets == [[], [samples[1]]]
