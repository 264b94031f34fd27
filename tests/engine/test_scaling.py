"""The linear rule: --auto-scale-lr, and what REFERENCE_WORLD_SIZE scales beside the rate."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from d2lite.config import CfgNode, get_cfg
from d2lite.engine import default_argument_parser, default_setup
from d2lite.engine.derived_config.scaling import (
    auto_scale_workers,
    reference_batch,
    scale_learning_rate,
)
from d2lite.utils.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = sorted(
    path
    for folder in ("configs", "projects/solov2/configs")
    for path in (ROOT / folder).rglob("*.yaml")
    if not path.name.startswith("_")
)


@pytest.fixture
def recipe(tmp_path) -> Path:
    """A file for batches of 16, and one that inherits from it and changes the batch."""
    (tmp_path / "base.yaml").write_text("SOLVER: {IMS_PER_BATCH: 16, BASE_LR: 0.02}\n")
    file = tmp_path / "mine.yaml"
    file.write_text("_BASE_: base.yaml\nSOLVER: {IMS_PER_BATCH: 8}\n")
    return file


def load(file: Path, *options: object) -> CfgNode:
    cfg = get_cfg()
    cfg.merge_from_file(file)
    cfg.merge_from_list(list(options))
    return cfg


def rate(cfg: CfgNode) -> float:
    return float(cfg.SOLVER.BASE_LR)


def test_rate_follows_the_batch_and_the_log_says_so(recipe, caplog):
    cfg = load(recipe.with_name("base.yaml"), "SOLVER.IMS_PER_BATCH", 4)
    cfg.SOLVER.BASE_LR_END = 0.002
    cfg.freeze()
    caplog.set_level("INFO")
    scale_learning_rate(cfg)
    assert rate(cfg) == pytest.approx(0.005)
    assert float(cfg.SOLVER.BASE_LR_END) == pytest.approx(0.0005)
    assert "SOLVER.BASE_LR 0.02 -> 0.005 by the linear rule, from a batch of 16 to 4" in caplog.text
    assert "base.yaml" in caplog.text
    assert "each image is seen 0.25 times as often" in caplog.text
    scale_learning_rate(cfg)
    assert rate(cfg) == pytest.approx(0.005), "once is enough"


def test_reference_is_the_batch_of_the_file_that_sets_the_rate(recipe):
    """The inheriting file changes the batch alone, so its rate is still that of 16 images."""
    cfg = load(recipe)
    assert reference_batch(cfg) == 16
    scale_learning_rate(cfg)
    assert rate(cfg) == pytest.approx(0.01)


def test_file_with_a_rate_of_its_own_is_its_own_reference(recipe, caplog):
    recipe.write_text("_BASE_: base.yaml\nSOLVER: {IMS_PER_BATCH: 8, BASE_LR: 0.007}\n")
    cfg = load(recipe)
    caplog.set_level("INFO")
    scale_learning_rate(cfg)
    assert cfg.SOLVER.BASE_LR == 0.007
    assert "nothing to scale" in caplog.text


def test_default_rate_is_that_of_the_default_batch():
    cfg = get_cfg()
    cfg.merge_from_list(["SOLVER.IMS_PER_BATCH", 32])
    scale_learning_rate(cfg)
    assert rate(cfg) == pytest.approx(0.002)


def test_rate_set_by_hand_is_not_scaled_again(recipe):
    cfg = load(recipe, "SOLVER.BASE_LR", 0.001)
    with pytest.raises(ConfigError, match=r"SOLVER\.BASE_LR 0\.001 was set by hand \(command line"):
        scale_learning_rate(cfg)


def test_optimizer_for_which_the_rule_was_not_found_is_named(recipe, caplog):
    scale_learning_rate(load(recipe, "SOLVER.OPTIMIZER", "AdamW"))
    assert "found for SGD; with AdamW" in caplog.text


def test_every_published_file_says_its_reference_batch():
    """Not by our default, which may change: by a number in it or in what it inherits from."""
    assert len(PUBLISHED) > 80
    silent = []
    for path in PUBLISHED:
        solver = CfgNode.load_yaml_with_base(path).get("SOLVER", {})
        if not {"IMS_PER_BATCH", "BASE_LR"} <= solver.keys():
            silent.append(str(path.relative_to(ROOT)))
    assert not silent


def test_command_line_asks_for_it(recipe, tmp_path):
    args = default_argument_parser().parse_args(["--auto-scale-lr"])
    cfg = load(recipe, "OUTPUT_DIR", str(tmp_path / "out"))
    default_setup(cfg, args)
    assert rate(cfg) == pytest.approx(0.01)
    assert "BASE_LR: 0.01" in (tmp_path / "out" / "config.yaml").read_text()
    unasked = load(recipe, "OUTPUT_DIR", str(tmp_path / "out"))
    default_setup(unasked, SimpleNamespace())
    assert unasked.SOLVER.BASE_LR == 0.02


def test_scaling_to_workers_scales_what_else_counts_iterations():
    """Two processes instead of eight: a batch and a rate of a quarter, four times the steps."""
    cfg = get_cfg()
    cfg.merge_from_list(
        ["SOLVER.REFERENCE_WORLD_SIZE", 8, "TEST.LOSS_PERIOD", 100, "MODEL_EMA.DECAY", 0.5]
    )
    scaled = auto_scale_workers(cfg, 2)
    assert scaled.TEST.LOSS_PERIOD == 400
    # As much is left of an image's weight when as many images have followed.
    assert math.isclose(scaled.MODEL_EMA.DECAY**4, 0.5)
    assert scaled.TEST.EVAL_PERIOD == 0
