"""Whole runs on the built-in shapes: train, go on, evaluate, draw, and learn from scratch."""

import pytest
import torch

from d2lite.engine import DefaultTrainer, setup_cfg
from d2lite.modeling import META_ARCH_REGISTRY, build_model
from d2lite.projects.detr import build_train_optimizer
from d2lite.utils.errors import ConfigError

from ..rtdetr.small import image
from ..runs import check_drawing, check_resume, gradients, metrics, train, train_and_go_on
from .small import KINDS, SIZES, small_cfg

TINY = [
    *(str(opt) for opt in SIZES[2:]),
    "MODEL.DEVICE", "cpu",
    "MODEL.WEIGHTS", "",
    "MODEL.RESNETS.NORM", "BN",
    "MODEL_EMA.ENABLED", "True",
    "DATASETS.TRAIN", "('shapes_train',)",
    "INPUT.AUGMENTATIONS", "['RandomFlip', 'Resize(64)']",
    "INPUT.AUGMENTATIONS_TEST", "['Resize(64)']",
    "DATALOADER.NUM_WORKERS", "0",
    "SOLVER.IMS_PER_BATCH", "2",
    "SOLVER.MAX_ITER", "2",
    "SOLVER.MAX_EPOCHS", "0",
    "SOLVER.CHECKPOINT_EPOCHS", "0",
    "SOLVER.WARMUP_ITERS", "0",
    "SOLVER.STEP_EPOCHS", "()",
    "SOLVER.STEPS", "()",
    "SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR",
    "TEST.EVAL_PERIOD", "0",
    "TEST.EVAL_EPOCHS", "0",
    "SEED", "1",
]  # fmt: skip


def test_train_go_on_evaluate_and_draw(run, tmp_path):
    """The number of classes follows from the set."""
    recipe, more = KINDS["refined"]
    options = ["--config-file", recipe, *TINY, *more, "OUTPUT_DIR", tmp_path]
    options += ["DATASETS.TEST", "('shapes_val',)"]
    weights = train_and_go_on(run, options, tmp_path, "bbox/AP50")
    assert len(weights["class_embed.0.bias"]) == 5
    assert {"category_name", "bbox", "score"} <= check_drawing(run, tmp_path)


@pytest.mark.parametrize("kind", ["detr", "dino"])
def test_resumed_run_ends_where_an_unbroken_one_ends(tmp_path, kind):
    """Noise and dropout follow from the position, and the averages go on."""
    recipe, more = KINDS[kind]
    check_resume(recipe, [*TINY, *more, "MODEL.DETR.DROPOUT", "0.1"], tmp_path)


@pytest.mark.parametrize("kind", ["detr", "dino"])
def test_mixed_precision_trains(tmp_path, kind):
    amp = ["SOLVER.AMP.ENABLED", True, "SOLVER.AMP.PRECISION", "bfloat16"]
    recipe, more = KINDS[kind]
    weights = train(recipe, [*TINY, *more, *amp], tmp_path, 2)
    assert all(value.isfinite().all() for value in weights.values())


def _gradients(kind: str, parts: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = build_model(small_cfg(kind, "MODEL.DETR.DROPOUT", 0.0))
    batch = [image(seed, count) for seed, count in enumerate((1, 4, 0, 2))]
    return gradients(model, batch, parts)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_in_passes_are_those_of_one(kind):
    """Images with one, four, no and two objects: losses are divided by objects of the batch."""
    one, several = _gradients(kind, 1), _gradients(kind, 4)
    for name, value in one.items():
        scale = value.abs().max().clamp(min=1e-3)
        assert (several[name] - value).abs().max() < 2e-3 * scale, name


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


# Millions of parameters, as published.
PARAMETERS = {
    "detr_r50": 41,
    "r50_deformable_detr": 40,
    "r50_deformable_detr_plus_iterative_bbox_refinement": 41,
    "r50_deformable_detr_plus_iterative_bbox_refinement_plus_plus_two_stage": 41,
    "dino_r50_4scale_12ep": 47,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_each_recipe_has_the_published_number_of_parameters(name):
    cfg = setup_cfg(f"{name}.yaml", ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""])
    # Without memory for its weights.
    with torch.device("meta"):
        model = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg)
    count = sum(value.numel() for value in model.parameters())
    assert abs(count / 1e6 - PARAMETERS[name]) < 1


@pytest.mark.slow
def test_it_learns_the_shapes_from_scratch(tmp_path):
    """AP50 74.4 was measured."""
    options = ["MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(tmp_path)]
    trainer = DefaultTrainer(setup_cfg("dino_shapes.yaml", options))
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert metrics(tmp_path)[-1]["bbox/AP50"] > 65
