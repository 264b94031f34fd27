"""Resuming, learning rates of the parts, and what is refused."""

import pytest

from d2lite.engine import DefaultTrainer, setup_cfg
from d2lite.modeling import build_model
from d2lite.projects.detr import build_train_optimizer
from d2lite.utils.errors import ConfigError

from ..runs import check_resume
from .small import KINDS, TINY, small_cfg


@pytest.mark.parametrize("kind", ["detr", "dino"])
def test_resumed_run_ends_where_an_unbroken_one_ends(tmp_path, kind):
    """Noise and dropout follow from the position, and the averages go on."""
    recipe, more = KINDS[kind]
    check_resume(recipe, [*TINY, *more, "MODEL.DETR.DROPOUT", "0.1"], tmp_path)


def test_backbone_and_offsets_have_their_own_learning_rates():
    cfg = small_cfg("deformable", "SOLVER.BASE_LR", 0.01)
    model = build_model(cfg)
    rates = {
        id(value): group["lr"]
        for group in build_train_optimizer(cfg, model).param_groups
        for value in group["params"]
    }
    layer = model.transformer.encoder["layers"][0]
    slow = [
        model.backbone.stem.conv1.weight,
        layer.self_attn.sampling_offsets.bias,
        model.transformer.reference_points.weight,
    ]
    assert [rates[id(value)] for value in slow] == pytest.approx([0.001] * 3)
    assert rates[id(layer.linear1.weight)] == pytest.approx(0.01)
    cfg.MODEL.META_ARCHITECTURE = "RetinaNet"
    assert build_train_optimizer(cfg, model) is None


def test_augmentation_of_several_views_is_refused_with_the_models_that_have_it(tmp_path):
    options = ["OUTPUT_DIR", str(tmp_path), "TEST.AUG.ENABLED", "True"]
    with pytest.raises(ConfigError, match="DINO"):
        DefaultTrainer(setup_cfg("dino_shapes.yaml", [*TINY, *options]))
