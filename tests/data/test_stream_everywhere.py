"""One stream of augmented samples, whoever carries it out: workers, processes, resumed runs."""

import hashlib
import itertools

import numpy as np
import pytest

from d2lite.config import get_cfg
from d2lite.data import build_detection_train_loader
from d2lite.data.samplers import stream
from d2lite.utils import comm

BATCHES = 7
# Loader workers, processes, first batch.
WAYS = [(1, 1, 0), (4, 1, 0), (0, 2, 0), (1, 2, 3), (4, 2, 0), (0, 1, 5), (4, 1, 2)]


@pytest.fixture
def cfg():
    """Much that draws: sizes, flips, crops and colours."""
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = ("shapes_train",)
    cfg.INPUT.MIN_SIZE_TRAIN = (40, 48, 56, 64)
    cfg.INPUT.CROP.ENABLED = True
    cfg.SOLVER.IMS_PER_BATCH = 4
    cfg.SEED = 11
    return cfg


def fingerprint(sample) -> tuple:
    """What tells whether two samples are bit for bit the same."""
    pixels = hashlib.sha256(sample["image"].numpy().tobytes()).hexdigest()
    boxes = sample["instances"].gt_boxes.tensor.tolist()
    return sample["file_name"], tuple(sample["image"].shape), pixels, boxes, sample["draw_key"]


def batches_of(cfg, workers: int, world_size: int, start: int) -> list[list[tuple]]:
    """The global batches from `start` on, put together from what the processes load."""
    parts = []
    with pytest.MonkeyPatch.context() as patch:
        cfg.DATALOADER.NUM_WORKERS = workers
        patch.setattr(comm, "get_world_size", lambda: world_size)
        for rank in range(world_size):
            patch.setattr(comm, "get_rank", lambda rank=rank: rank)
            loader = build_detection_train_loader(cfg)
            loader.seek(start)
            taken = itertools.islice(loader, BATCHES - start)
            parts.append([[fingerprint(sample) for sample in batch] for batch in taken])
    return [list(itertools.chain.from_iterable(batch)) for batch in zip(*parts, strict=True)]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_samples_are_the_same_for_any_workers_processes_and_resumes(cfg):
    """Images, augmentations and the keys of the model's draws; the pixels themselves."""
    expected = batches_of(cfg, 0, 1, 0)
    assert len({tuple(map(str, sample)) for batch in expected for sample in batch}) == 4 * BATCHES
    for workers, world_size, start in WAYS:
        found = batches_of(cfg, workers, world_size, start)
        assert found == expected[start:], (workers, world_size, start)


def test_another_seed_is_another_stream(cfg):
    one = batches_of(cfg, 0, 1, 5)
    cfg.SEED = 12
    other = batches_of(cfg, 0, 1, 5)
    assert all(
        a[2] != b[2] for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True)
    )


@pytest.mark.parametrize("start", [0, 10**4, 10**8])
def test_a_far_start_makes_no_epoch_before_it(monkeypatch, start):
    """A run that is resumed after a week must not count through that week."""
    made = []
    shuffle = stream.keyed_shuffle

    def count(indices, seed, *counters):
        made.append(counters)
        return shuffle(indices, seed, *counters)

    monkeypatch.setattr(stream, "keyed_shuffle", count)
    batches = stream.BatchStream(stream.ShuffledOrder(np.arange(5000), seed=1), 8)
    batches.start = start
    next(iter(batches))
    assert len(made) <= 2
