"""Resuming, learning rates of the parts, and what is refused."""

import pytest

from d2lite.engine import DefaultTrainer, setup_cfg
from d2lite.modeling import build_model
from d2lite.projects.rtdetr import build_train_optimizer
from d2lite.utils.errors import ConfigError

from ..runs import check_resume
from .small import TINY, small_cfg

DROPOUT = ["MODEL.RTDETR.DROPOUT", "0.1"]


def test_resumed_run_ends_where_an_unbroken_one_ends(tmp_path):
    """Noise and dropout follow from the position, and the averages go on."""
    check_resume("rtdetr_quick_start.yaml", [*TINY, *DROPOUT], tmp_path)


def test_the_backbone_has_its_own_learning_rate():
    cfg = small_cfg("rtdetr", "SOLVER.BASE_LR", 0.01, "SOLVER.BACKBONE_MULTIPLIER", 0.1)
    model = build_model(cfg)
    rates = {
        id(value): group["lr"]
        for group in build_train_optimizer(cfg, model).param_groups
        for value in group["params"]
    }
    assert rates[id(model.backbone.stem.conv1.weight)] == pytest.approx(0.001)
    assert rates[id(model.encoder.input_proj[0]["conv"].weight)] == pytest.approx(0.01)
    cfg.MODEL.META_ARCHITECTURE = "RetinaNet"
    assert build_train_optimizer(cfg, model) is None


def test_augmentation_of_several_views_is_refused_with_the_models_that_have_it(tmp_path):
    options = ["OUTPUT_DIR", str(tmp_path), "TEST.AUG.ENABLED", "True"]
    with pytest.raises(ConfigError, match="RTDETR"):
        DefaultTrainer(setup_cfg("rtdetr_quick_start.yaml", [*TINY, *options]))
