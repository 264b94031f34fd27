"""Epochs: what is counted in them becomes iterations, and they are shown beside iterations."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from d2lite.config import get_cfg
from d2lite.engine import DefaultTrainer
from d2lite.engine.derived_config.epochs import epoch_length, follow_epochs
from d2lite.utils.errors import ConfigError


def loader(length: float) -> SimpleNamespace:
    return SimpleNamespace(batches_per_epoch=length)


def followed(length: float, **options):
    cfg = get_cfg()
    cfg.merge_from_list([item for pair in options.items() for item in pair])
    cfg.freeze()
    follow_epochs(cfg, loader(length))
    return cfg


def test_all_that_counts_epochs_becomes_iterations():
    cfg = followed(
        12.5,
        **{
            "SOLVER.MAX_EPOCHS": 3,
            "SOLVER.STEP_EPOCHS": (1, 2.5),
            "SOLVER.WARMUP_EPOCHS": 0.5,
            "SOLVER.CHECKPOINT_EPOCHS": 1,
            "TEST.EVAL_EPOCHS": 0.01,
            "TEST.LOSS_EPOCHS": 2,
        },
    )
    assert cfg.SOLVER.MAX_ITER == 38, "37.5 are begun, not left out"
    assert cfg.SOLVER.STEPS == (12, 31)
    assert cfg.SOLVER.WARMUP_ITERS == 7
    assert cfg.SOLVER.CHECKPOINT_PERIOD == 13
    assert cfg.TEST.EVAL_PERIOD == 1, "never 0, which would mean never"
    assert cfg.TEST.LOSS_PERIOD == 25
    assert cfg.origin("SOLVER.MAX_ITER") == "derived: epochs of 12.5 iterations"


def test_whole_epochs_are_not_lengthened_by_rounding_of_floats():
    assert followed(8 / 3, **{"SOLVER.MAX_EPOCHS": 3}).SOLVER.MAX_ITER == 8


def test_nothing_changes_where_nothing_counts_epochs():
    cfg = get_cfg()
    follow_epochs(cfg, object())
    assert cfg == get_cfg()


def test_steps_of_a_recipe_keep_their_place_in_a_run_of_other_length(tmp_path):
    """`--config-file R_50_1x.yaml SOLVER.MAX_EPOCHS 6` shall not lose its falls."""
    file = tmp_path / "recipe.yaml"
    file.write_text("SOLVER: {MAX_ITER: 90000, STEPS: [60000, 80000]}\n")
    cfg = get_cfg()
    cfg.merge_from_file(file)
    cfg.merge_from_list(["SOLVER.MAX_EPOCHS", 9])
    follow_epochs(cfg, loader(100))
    assert cfg.SOLVER.STEPS == (600, 800)
    # The config.yaml of the run says it in epochs too, and so means the same on other data.
    assert cfg.SOLVER.STEP_EPOCHS == (6.0, 8.0)
    follow_epochs(cfg, loader(50))
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS) == (450, (300, 400))


def test_steps_that_come_with_the_epochs_are_meant_as_they_are():
    options = {"SOLVER.MAX_EPOCHS": 9, "SOLVER.STEPS": (10, 20)}
    assert followed(100, **options).SOLVER.STEPS == (10, 20)


def test_schedule_without_steps_gets_none():
    options = {"SOLVER.MAX_EPOCHS": 9, "SOLVER.LR_SCHEDULER_NAME": "WarmupCosineLR"}
    assert followed(100, **options).SOLVER.STEP_EPOCHS == ()


@pytest.mark.parametrize("length", [float("inf"), None, 0])
def test_data_of_unknown_size_are_refused(length):
    assert epoch_length(loader(length)) is None
    with pytest.raises(ConfigError, match=r"SOLVER\.MAX_EPOCHS: the training data do not say"):
        followed(length, **{"SOLVER.MAX_EPOCHS": 2})
    with pytest.raises(ConfigError, match=r"SOLVER\.STEP_EPOCHS: the training data do not say"):
        followed(length, **{"SOLVER.STEP_EPOCHS": (2,)})


@pytest.mark.parametrize(
    ("key", "value"), [("SOLVER.MAX_EPOCHS", -1.0), ("SOLVER.STEP_EPOCHS", (1, -2))]
)
def test_negative_epochs_are_refused(key, value):
    with pytest.raises(ConfigError, match=rf"{key} has -"):
        followed(10, **{key: value})


def test_run_counts_and_shows_epochs(toy_cfg, caplog):
    """8 images, 2 a batch: 4 iterations an epoch."""
    toy_cfg.SOLVER.MAX_EPOCHS = 1.5
    toy_cfg.SOLVER.STEP_EPOCHS = (0.5, 1)
    toy_cfg.DATASETS.TEST = ()
    with caplog.at_level(logging.INFO):
        trainer = DefaultTrainer(toy_cfg)
        trainer.train()
    assert trainer.iter == trainer.max_iter == 6
    rates = [value for value, _ in trainer.storage.history("lr").values()]
    assert rates[2:] == pytest.approx([0.001, 0.001, 0.0001, 0.0001])
    last = json.loads((Path(toy_cfg.OUTPUT_DIR) / "metrics.json").read_text().splitlines()[-1])
    assert (last["iteration"], last["epoch"]) == (5, 1.5)
    assert "An epoch has 4 iterations. Hence SOLVER.MAX_ITER 6, SOLVER.STEPS (2, 4)" in caplog.text
    assert "epoch: 1.50" in caplog.text


def test_mixing_ends_before_the_end_that_follows_from_the_epochs(toy_cfg):
    """8 images, 2 a batch: 3 epochs are 12 iterations, whatever SOLVER.MAX_ITER was before."""
    toy_cfg.SOLVER.MAX_EPOCHS = 3
    toy_cfg.INPUT.AUGMENTATIONS = ("Mosaic(size=(24, 32))", "Default")
    toy_cfg.INPUT.MIXING_OFF_LAST_ITERS = 4
    mapper = DefaultTrainer(toy_cfg)._trainer.data_loader.dataset.dataset.dataset._map_func
    assert mapper.steps.mixing_ends_at == (12 - 4) * 2
