"""tools/benchmark.py compares the loader with a plain pipeline and shows where time goes."""

import pytest
import torch

from d2lite.commands.benchmarking.clock import PhaseClock
from d2lite.commands.benchmarking.loading import PlainDataset, timed_mapper
from d2lite.config import get_cfg
from d2lite.data import DatasetMapper, get_detection_dataset_dicts
from d2lite.utils.errors import ConfigError


@pytest.fixture
def cfg():
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = ("shapes_val",)
    cfg.INPUT.MIN_SIZE_TRAIN = (64,)
    cfg.INPUT.RANDOM_FLIP = "none"
    cfg.INPUT.MASK_FORMAT = "bitmask"
    cfg.MODEL.MASK_ON = True
    return cfg


def test_both_pipelines_are_measured_and_the_steps_named(run):
    result = run(
        "benchmark", "--task", "data", "--num-images", 2, "--repeats", 1, "--workers", 0, 1,
        "--config-file", "quick_start.yaml", "INPUT.MIN_SIZE_TRAIN", "(64,)",
        "SOLVER.IMS_PER_BATCH", 2,
    )  # fmt: skip
    assert result.status == 0, result.err
    tables = [line for line in result.out.splitlines() if line.startswith("| whole")]
    assert len(tables) == 2
    for row in tables:
        ours, plain, ratio = (cell.split()[0] for cell in row.split("|")[2:5])
        assert float(ratio) == pytest.approx(float(ours) / float(plain), rel=0.2)
    assert "with 0 workers" in result.out
    assert "with 1 workers" in result.out
    assert "augment: ResizeShortestEdge" in result.out
    assert "make instances (masks)" in result.out
    assert "largest loader process" in result.out


@pytest.mark.parametrize(
    ("options", "why"),
    [(["--num-images", "0"], "1 or more"), (["DATASETS.TRAIN", "()"], "nothing to load")],
)
def test_mistakes_end_with_2_and_say_why(run, options, why):
    result = run("benchmark", "--config-file", "quick_start.yaml", *options)
    assert result.status == 2
    assert why in result.err


def test_the_plain_pipeline_does_the_same_work(cfg):
    """Or the ratio would mean nothing: same sizes, boxes and masks."""
    record = get_detection_dataset_dicts("shapes_val")[0]
    image, target = PlainDataset([record], cfg)[0]
    sample = DatasetMapper(cfg, True)(record)
    assert image.shape == sample["image"].shape
    ours = sample["image"].flip(0)  # BGR
    assert (image.int() - ours.int()).abs().max() <= 1
    torch.testing.assert_close(
        torch.as_tensor(target["boxes"]), sample["instances"].gt_boxes.tensor
    )
    masks = sample["instances"].gt_masks.tensor
    assert (torch.as_tensor(target["masks"]).bool() == masks).float().mean() > 0.99
    cfg.INPUT.CROP.ENABLED = True
    with pytest.raises(ConfigError, match=r"INPUT\.CROP\.ENABLED False"):
        PlainDataset([record], cfg)


def test_the_clock_gives_inner_steps_their_own_time(monkeypatch):
    now = iter([0.0, 1.0, 3.0, 10.0])
    clock = "d2lite.commands.benchmarking.clock.time.perf_counter"
    monkeypatch.setattr(clock, lambda: next(now))
    clock = PhaseClock()
    with clock("outer"), clock("inner"):
        pass
    assert clock.take() == {"outer": 8.0, "inner": 2.0}


def test_a_timed_mapper_gives_the_sample_of_the_mapper(cfg):
    record = get_detection_dataset_dicts("shapes_val")[0]
    clock = PhaseClock()
    sample, same = timed_mapper(cfg, clock)(record), DatasetMapper(cfg, True)(record)
    torch.testing.assert_close(sample["image"], same["image"])
    assert len(sample["instances"]) == len(same["instances"])
    assert "transform annotations" in clock.take()
