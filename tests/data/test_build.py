"""The loaders: the same samples whatever reads them."""

import itertools
import random

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset, SequentialSampler

from d2lite.config import get_cfg
from d2lite.data import (
    DatasetCatalog,
    DatasetFromList,
    MapDataset,
    ToIterableDataset,
    build_batch_data_loader,
    build_detection_test_loader,
)
from d2lite.data import build_detection_train_loader as build_train_loader
from d2lite.data.benchmark import DataLoaderBenchmark, iter_benchmark
from d2lite.data.samplers import InferenceSampler, RepeatFactorTrainingSampler, TrainingSampler
from d2lite.utils.errors import ConfigError, DataError, MissingFileError
from d2lite.utils.keyed_rng import draw_key

RECORDS = [
    {"file_name": f"{i}", "width": 30 if i % 3 else 20, "height": 25, "number": i}
    for i in range(23)
]


def dice(record):
    """A mapper that draws from all three global generators."""
    drawn = (random.random(), float(np.random.rand()), float(torch.rand(())))
    return {"number": record["number"], "width": record["width"], "drawn": drawn}


def picky(record):
    return None if record["number"] % 2 else dice(record)


def refuse_all(record):
    return None


def lose_a_file(record):
    raise MissingFileError(f"The image {record['file_name']} is gone.")


def loader(total=4, **options):
    options.setdefault("mapper", dice)
    return build_train_loader(list(RECORDS), total_batch_size=total, seed=5, **options)


def take(batches, count):
    return list(itertools.islice(batches, count))


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker:UserWarning")
@pytest.mark.parametrize("workers", [1, 4])
def test_workers_do_not_change_samples_or_draws(workers):
    assert take(loader(num_workers=workers), 9) == take(loader(), 9)


@pytest.mark.parametrize("mapper", [dice, picky])
def test_two_processes_share_the_batches_of_one(as_rank, mapper):
    alone = take(loader(mapper=mapper), 40)
    ranks = []
    for rank in range(2):
        as_rank(rank, 2)
        ranks.append(take(loader(mapper=mapper), 40))
    assert [first + second for first, second in zip(*ranks, strict=True)] == alone


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("start", [1, 31, 70])
def test_a_loader_started_later_goes_on_exactly(workers, start):
    late = loader(num_workers=workers)
    late.seek(start)
    assert take(late, 4) == take(loader(), start + 4)[start:]


def test_the_draws_of_a_sample_do_not_depend_on_the_program_around_it():
    first = take(loader(), 3)
    random.seed(99)
    np.random.seed(99)
    torch.manual_seed(99)
    assert take(loader(), 3) == first


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_leaves_the_programs_generators_alone(workers):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    take(loader(num_workers=workers), 2)
    assert torch.equal(torch.get_rng_state(), before)


def test_every_sample_carries_the_key_of_its_position():
    batches = take(loader(aspect_ratio_grouping=False), 3)
    keys = [sample["draw_key"] for batch in batches for sample in batch]
    assert keys == [draw_key(5, position) for position in range(12)]


def test_an_image_draws_anew_in_each_epoch():
    seen = {}
    for batch in take(loader(), 12):
        for sample in batch:
            seen.setdefault(sample["number"], []).append(sample["drawn"])
    assert all(len(set(drawn)) == len(drawn) for drawn in seen.values())
    assert max(map(len, seen.values())) > 1


def test_wide_images_are_batched_with_wide_ones():
    batches = take(loader(), 32)
    mixed = [b for b in batches if len({sample["width"] for sample in b}) > 1]
    assert len(mixed) <= 1
    ungrouped = take(loader(aspect_ratio_grouping=False), 32)
    assert sum(len({sample["width"] for sample in b}) > 1 for b in ungrouped) > 5


def test_epochs_are_counted_in_batches():
    assert loader(total=4).batches_per_epoch == 23 / 4
    repeating = RepeatFactorTrainingSampler([1.5] * 23, seed=5)
    assert loader(total=4, sampler=repeating).batches_per_epoch == 1.5 * 23 / 4


def test_refused_images_are_replaced_by_others():
    numbers = [sample["number"] for batch in take(loader(mapper=picky), 30) for sample in batch]
    assert len(numbers) == 120
    assert all(number % 2 == 0 for number in numbers)


def test_a_mapper_that_refuses_everything_ends_with_an_error():
    with pytest.raises(DataError, match="returned None"):
        take(loader(mapper=refuse_all), 1)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_users_mistake_in_a_worker_arrives_with_its_own_message(workers):
    with pytest.raises(MissingFileError) as info:
        take(loader(mapper=lose_a_file, num_workers=workers), 1)
    assert "is gone." in str(info.value)
    assert "Traceback" not in str(info.value)


def test_a_batch_must_divide_over_the_processes(as_rank):
    as_rank(0, 3)
    with pytest.raises(ConfigError, match=r"batch of 4 .*for instance 3"):
        loader(total=4)


def test_the_batch_of_one_process_can_be_given_instead(as_rank):
    as_rank(0, 2)
    sampler = TrainingSampler(23, seed=5)
    batches = build_batch_data_loader(RECORDS, sampler, None, single_gpu_batch_size=3)
    assert len(take(batches, 1)[0]) == 3
    with pytest.raises(ConfigError, match="not both"):
        build_batch_data_loader(RECORDS, sampler, 4, single_gpu_batch_size=3)


def test_a_batch_before_the_first_is_refused():
    with pytest.raises(DataError, match="count from 0"):
        loader().seek(-1)


def test_an_empty_dataset_is_an_error_with_advice():
    with pytest.raises(DataError, match=r"DATASETS.TRAIN"):
        build_train_loader([], mapper=dice, total_batch_size=2)


def test_a_sampler_of_ones_own_is_followed_and_can_be_sought():
    own = {"sampler": SequentialSampler(range(23)), "aspect_ratio_grouping": False}
    batches = list(loader(total=5, **own))
    assert [[s["number"] for s in b] for b in batches][:2] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert len(batches) == 4
    late = loader(total=5, num_workers=1, **own)
    late.seek(3)
    assert list(late) == batches[3:]


class Squares(Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, i):
        return {"square": i * i, "drawn": random.random()}


def test_a_dataset_of_ones_own_needs_no_mapper():
    batches = build_train_loader(Squares(), mapper=None, total_batch_size=3, seed=1)
    again = build_train_loader(Squares(), mapper=None, total_batch_size=3, seed=1, num_workers=2)
    assert take(batches, 4) == take(again, 4)
    assert sorted(s["square"] for b in take(batches, 2) for s in b) == [0, 1, 4, 9, 16, 25]


class Endless(IterableDataset):
    def __iter__(self):
        for i in itertools.count():
            yield {"number": i, "width": 2 + i % 2, "height": 2, "drawn": random.random()}


@pytest.mark.parametrize("grouped", [False, True])
def test_an_iterable_dataset_is_batched_and_can_be_sought(grouped):
    def build():
        return build_train_loader(
            Endless(),
            mapper=None,
            total_batch_size=2,
            aspect_ratio_grouping=grouped,
            seed=3,
        )

    batches = take(build(), 6)
    assert all(len(batch) == 2 for batch in batches)
    assert all(len({sample["width"] for sample in b}) == 1 for b in batches) == grouped
    late = build()
    late.seek(4)
    assert take(late, 2) == batches[4:]


def test_an_iterable_dataset_takes_no_sampler():
    with pytest.raises(ConfigError, match="order of its own"):
        build_train_loader(
            Endless(), mapper=None, sampler=TrainingSampler(3, seed=0), total_batch_size=2
        )
    with pytest.raises(ConfigError, match="order of its own"):
        build_detection_test_loader(Endless(), mapper=None, sampler=TrainingSampler(3, seed=0))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_the_test_loader_shows_every_image_once(as_rank, workers, world_size):
    numbers = []
    for rank in range(world_size):
        as_rank(rank, world_size)
        batches = build_detection_test_loader(
            list(RECORDS), mapper=dice, batch_size=4, num_workers=workers
        )
        numbers += [sample["number"] for batch in batches for sample in batch]
    assert numbers == list(range(23))


def test_a_test_mapper_may_leave_no_image_out():
    with pytest.raises(DataError, match="Evaluation needs every image"):
        list(build_detection_test_loader(list(RECORDS), mapper=picky))


@pytest.fixture
def cfg():
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = ("shapes_train",)
    cfg.SEED = 2
    cfg.SOLVER.IMS_PER_BATCH = 4
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.INPUT.MIN_SIZE_TRAIN = (100,)
    return cfg


def test_a_configuration_builds_a_training_loader(cfg):
    batches = build_train_loader(cfg)
    assert batches.batches_per_epoch == 200
    batch = take(batches, 1)[0]
    assert len(batch) == 4
    for sample in batch:
        assert sample["image"].dtype == torch.uint8
        assert len(sample["instances"]) > 0
        assert "draw_key" in sample


@pytest.mark.parametrize(
    ("device", "workers", "pinned"), [("cuda:0", 1, True), ("cuda:0", 0, False), ("cpu", 1, False)]
)
def test_batches_of_workers_are_pinned_for_a_gpu(cfg, monkeypatch, device, workers, pinned):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    cfg.MODEL.DEVICE, cfg.DATALOADER.NUM_WORKERS = device, workers
    assert build_train_loader(cfg).pin_memory == pinned


def test_a_configuration_with_a_mapper_of_ones_own(cfg):
    batch = take(build_train_loader(cfg, mapper=lambda record: record["image_id"]), 1)[0]
    assert len(batch) == 4
    assert all(isinstance(sample, int) for sample in batch)


@pytest.mark.parametrize("name", ["RepeatFactorTrainingSampler", "RandomSubsetTrainingSampler"])
def test_samplers_are_chosen_by_name(cfg, name):
    cfg.DATALOADER.SAMPLER_TRAIN = name
    cfg.DATALOADER.REPEAT_THRESHOLD = 0.9
    cfg.DATALOADER.RANDOM_SUBSET_RATIO = 0.5
    per_epoch = build_train_loader(cfg, mapper=dice).batches_per_epoch
    assert per_epoch == 100 if "Subset" in name else per_epoch > 205


def test_an_unknown_sampler_lists_the_known_ones(cfg):
    cfg.DATALOADER.SAMPLER_TRAIN = "Shuffle"
    with pytest.raises(ConfigError, match="'Shuffle'; known are TrainingSampler"):
        build_train_loader(cfg)


def test_a_configuration_builds_a_test_loader(cfg):
    cfg.INPUT.MIN_SIZE_TEST = 64
    batches = build_detection_test_loader(cfg, "shapes_val")
    assert len(batches) == 100
    batch = next(iter(batches))
    assert len(batch) == 1
    assert batch[0]["image_id"] == 0


def test_workers_nobody_asked_for_are_no_more_than_the_cores(cfg, monkeypatch, caplog):
    monkeypatch.setattr("d2lite.data.build.usable_cores", lambda: 2)
    fresh = get_cfg()
    fresh.SOLVER.IMS_PER_BATCH, fresh.SEED = 2, 0
    assert build_train_loader(fresh, dataset=list(RECORDS), mapper=dice).num_workers == 2
    fresh.DATALOADER.NUM_WORKERS = 1
    assert build_train_loader(fresh, dataset=list(RECORDS), mapper=dice).num_workers == 1


def test_a_sampler_and_a_dataset_that_override_ours_decide_what_is_trained_on():
    class Same(TrainingSampler):
        def __iter__(self):
            return itertools.cycle([4, 9])

    class Own(MapDataset):
        def __getitem__(self, idx):
            return {"index": idx}

    batches = build_batch_data_loader(Own(list(RECORDS), dice), Same(23), 2)
    assert [[s["index"] for s in batch] for batch in take(batches, 2)] == [[4, 9], [4, 9]]


@pytest.mark.parametrize(("drop_last", "count"), [(True, 5), (False, 6)])
def test_a_loader_over_a_sampler_of_known_length_has_a_length(drop_last, count):
    dataset = DatasetFromList(list(RECORDS))
    loader = build_batch_data_loader(dataset, InferenceSampler(23), 4, drop_last=drop_last)
    assert len(loader) == len(list(loader)) == count
    view = ToIterableDataset(dataset, InferenceSampler(23))
    loader = build_batch_data_loader(view, None, 4, drop_last=drop_last)
    assert len(loader) == len(list(loader)) == count


@pytest.mark.parametrize("grouped", [False, True])
def test_endless_batches_have_no_length(grouped):
    loader = build_batch_data_loader(
        DatasetFromList(list(RECORDS)),
        TrainingSampler(23),
        4,
        aspect_ratio_grouping=grouped,
    )
    with pytest.raises(TypeError):
        len(loader)
    with pytest.raises(TypeError, match=r"no length|no len"):
        len(build_batch_data_loader(Counting(), None, 4, aspect_ratio_grouping=grouped))


class Counting(IterableDataset):
    def __iter__(self):
        yield from ({"number": n, "width": 6, "height": 4} for n in itertools.count())


@pytest.mark.parametrize("count", [1, 2])
def test_registered_torch_datasets_are_read_as_they_are(cfg, count):
    names = [f"torch_set_{count}_{i}" for i in range(count)]
    for name in names:
        make = Counting if count == 1 else lambda: DatasetFromList(list(RECORDS))
        DatasetCatalog.register(name, make)
    try:
        cfg.DATASETS.TRAIN = tuple(names)
        batch = next(iter(build_train_loader(cfg, mapper=lambda d: d)))
        assert len(batch) == cfg.SOLVER.IMS_PER_BATCH
        assert "number" in batch[0]
    finally:
        for name in names:
            DatasetCatalog.remove(name)


def test_the_parts_of_a_loader_are_timed(caplog):
    bench = DataLoaderBenchmark(list(RECORDS), mapper=dice, total_batch_size=2)
    with caplog.at_level("INFO"):
        bench.benchmark_dataset(3, 1)
        bench.benchmark_mapper(3, 1)
        bench.benchmark_workers(3, 1)
        bench.benchmark_IPC(3, 1)
        bench.benchmark_distributed(3, 1)
    assert len([r for r in caplog.records if "a second in each process" in r.message]) == 5


def test_all_arguments_of_the_loader_can_be_timed():
    cfg = get_cfg()
    cfg.SOLVER.IMS_PER_BATCH = 2
    arguments = build_train_loader.from_config(cfg, dataset=list(RECORDS), mapper=dice)
    bench = DataLoaderBenchmark(**arguments)
    assert len(next(iter(bench._batches(0)))) == 2


def test_a_measurement_stops_after_its_time():
    mean, seconds = iter_benchmark(itertools.count(), 10**9, warmup=1, max_time_seconds=0.05)
    assert 0 < len(seconds) < 10**9
    assert mean == pytest.approx(sum(seconds) / len(seconds))
