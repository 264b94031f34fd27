"""Whole runs on the built-in shapes: train, go on, evaluate, predict, and learn from nothing."""

import json
import math
import random

import pytest
import torch

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.engine import DefaultTrainer, setup_cfg

from ..runs import metrics, table_values

# solov2_quick_start.yaml, small enough for a step of some 50 ms.
TINY = [
    "INPUT.MIN_SIZE_TRAIN", "(64,)",
    "INPUT.MIN_SIZE_TEST", "64",
    "MODEL.DEVICE", "cpu",
    "MODEL.RESNETS.NORM", "BN",
    "MODEL.RESNETS.STEM_OUT_CHANNELS", "8",
    "MODEL.RESNETS.RES2_OUT_CHANNELS", "8",
    "MODEL.FPN.OUT_CHANNELS", "32",
    "MODEL.FPN.NORM", "BN",
    "MODEL.SOLOV2.INSTANCE_IN_CHANNELS", "32",
    "MODEL.SOLOV2.INSTANCE_CHANNELS", "32",
    "MODEL.SOLOV2.NUM_INSTANCE_CONVS", "1",
    "MODEL.SOLOV2.MASK_IN_CHANNELS", "32",
    "MODEL.SOLOV2.MASK_CHANNELS", "32",
    "MODEL.SOLOV2.NUM_KERNELS", "32",
    "MODEL.SOLOV2.NUM_MASKS", "32",
    "MODEL.SOLOV2.SCORE_THR", "0.0",
    "MODEL.SOLOV2.UPDATE_THR", "0.0",
    "MODEL.SOLOV2.MAX_PER_IMG", "5",
    "DATALOADER.NUM_WORKERS", "0",
    "SOLVER.IMS_PER_BATCH", "2",
    "SOLVER.MAX_ITER", "3",
    "SOLVER.WARMUP_ITERS", "0",
]  # fmt: skip

THINNED = "shapes_train_thinned"


def test_train_go_on_evaluate_and_draw(run, tmp_path):
    """The tools find the project, its configs and its keys without an edit."""
    out = tmp_path / "run"
    options = ["--config-file", "solov2_quick_start.yaml", *TINY, "OUTPUT_DIR", out]
    first = run("train_net", *options, "DATASETS.TEST", "()")
    assert first.status == 0, first.err

    resumed = run("train_net", "--resume", *options, "SOLVER.MAX_ITER", 5)
    assert resumed.status == 0, resumed.err
    assert "going on at iteration 3" in resumed.out
    assert [line["iteration"] for line in metrics(out) if "loss_ins" in line][-1] == 4
    printed = table_values(resumed.out)
    assert len(printed) == 2  # boxes and masks

    weights = out / "model_final.pth"
    again = run(
        "train_net",
        *("--config-file", out / "config.yaml", "--eval-only"),
        *("MODEL.WEIGHTS", weights, "OUTPUT_DIR", tmp_path / "eval"),
    )
    assert again.status == 0, again.err
    assert table_values(again.out) == printed

    picture, found = tmp_path / "found.png", tmp_path / "found.json"
    drawn = run(
        "demo",
        *("--config-file", out / "config.yaml", "--input", "shapes://val/3"),
        *("--output", picture, "--save-json", found, "--confidence-threshold", 0),
    )
    assert drawn.status == 0, drawn.err
    assert picture.is_file()
    instances = json.loads(found.read_text())
    assert 0 < len(instances) <= 5
    assert {"category_name", "segmentation", "bbox", "score"} <= instances[0].keys()


def test_resumed_run_ends_where_an_unbroken_one_ends(tmp_path):
    """The same images in the same order, and the optimizer as it was."""

    def train(folder, num_iterations: int, *, resume: bool = False) -> dict[str, torch.Tensor]:
        options = ["SOLVER.MAX_ITER", num_iterations, "OUTPUT_DIR", str(folder)]
        options += ["SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR", "SOLVER.STEPS", "()"]
        cfg = setup_cfg("solov2_quick_start.yaml", [*TINY, *options, "DATASETS.TEST", "()"])
        torch.manual_seed(0)
        trainer = DefaultTrainer(cfg)
        trainer.resume_or_load(resume=resume)
        trainer.train()
        return torch.load(folder / "model_final.pth", weights_only=True)["model"]

    unbroken = train(tmp_path / "unbroken", 4)
    train(tmp_path / "broken", 2)
    resumed = train(tmp_path / "broken", 4, resume=True)
    for name, value in unbroken.items():
        torch.testing.assert_close(resumed[name], value, msg=lambda text, n=name: f"{n}: {text}")


@pytest.fixture
def thinned():
    """shapes_train without a random part of its objects; every third image has none left."""
    draws = random.Random(0)

    def load() -> list[dict]:
        records = DatasetCatalog.get("shapes_train")
        for record in records:
            share = draws.choice([0.0, 0.5, 1.0])
            kept = [obj for obj in record["annotations"] if draws.random() < share]
            record["annotations"] = kept
        return records

    DatasetCatalog.register(THINNED, load)
    classes = MetadataCatalog.get("shapes_train").thing_classes
    MetadataCatalog.get(THINNED).set(thing_classes=classes, evaluator_type="coco")
    yield THINNED
    DatasetCatalog.remove(THINNED)
    MetadataCatalog.remove(THINNED)


def train_thinned(thinned: str, folder, options: list, num_iterations: int) -> None:
    """Train, and look at every loss and every weight."""
    cfg = setup_cfg("solov2_quick_start.yaml", options)
    cfg.merge_from_list(
        [
            *("DATASETS.TRAIN", (thinned,), "DATASETS.TEST", (), "OUTPUT_DIR", str(folder)),
            *("DATALOADER.FILTER_EMPTY_ANNOTATIONS", False, "SOLVER.MAX_ITER", num_iterations),
        ]
    )
    trainer = DefaultTrainer(cfg)
    empty, losses = [], []
    compute = trainer.model.losses

    def watched(batch):
        empty.append(all(len(item["instances"]) == 0 for item in batch))
        losses.append(compute(batch))
        return losses[-1]

    trainer.model.losses = watched
    trainer.train()
    assert len(losses) == num_iterations
    assert any(empty)
    assert not all(empty)
    assert all(math.isfinite(value.item()) for step in losses for value in step.values())
    assert all(parameter.isfinite().all() for parameter in trainer.model.parameters())


def test_images_and_whole_batches_without_objects_are_learnt_from(thinned, tmp_path):
    """Where the published implementation crashes."""
    train_thinned(thinned, tmp_path, [*TINY, "SOLVER.IMS_PER_BATCH", 2], 12)


@pytest.mark.slow
def test_two_hundred_iterations_with_objects_missing_at_random(thinned, tmp_path):
    """No crash and no NaN, with the network and the learning rate of the quick start."""
    options = ["SOLVER.IMS_PER_BATCH", 2, "DATALOADER.NUM_WORKERS", 0, "MODEL.DEVICE", "cpu"]
    train_thinned(thinned, tmp_path, options, 200)
