"""Whole runs on the built-in shapes: train, go on, evaluate, draw, and learn from nothing."""

import pytest
import torch

from d2lite.engine import DefaultTrainer, setup_cfg
from d2lite.modeling import build_model
from d2lite.projects.rtdetr import build_train_optimizer
from d2lite.utils.errors import ConfigError

from ..runs import check_drawing, check_resume, gradients, metrics, train, train_and_go_on
from .small import image, small_cfg, small_opts

TINY = [
    *(str(opt) for opt in small_opts()[2:]),
    "MODEL.DEVICE", "cpu",
    "INPUT.AUGMENTATIONS", "['RandomFlip', 'Resize(64)']",
    "INPUT.AUGMENTATIONS_TEST", "['Resize(64)']",
    "DATALOADER.NUM_WORKERS", "0",
    "SOLVER.IMS_PER_BATCH", "2",
    "SOLVER.MAX_ITER", "2",
    "SOLVER.WARMUP_ITERS", "0",
    "TEST.EVAL_PERIOD", "0",
]  # fmt: skip


def test_train_go_on_evaluate_and_draw(run, tmp_path):
    """The number of classes follows from the set."""
    options = ["--config-file", "rtdetr_quick_start.yaml", *TINY, "OUTPUT_DIR", tmp_path]
    weights = train_and_go_on(run, options, tmp_path, "bbox/AP50")
    assert len(weights["decoder.enc_score_head.bias"]) == 5
    assert {"category_name", "bbox", "score"} <= check_drawing(run, tmp_path)


MASKS = ["MODEL.MASK_ON", "True"]
DROPOUT = ["MODEL.RTDETR.DROPOUT", "0.1"]


def test_resumed_run_ends_where_an_unbroken_one_ends(tmp_path):
    """Noise and dropout follow from the position, and the averages go on."""
    check_resume("rtdetr_quick_start.yaml", [*TINY, *DROPOUT], tmp_path)


def test_a_run_with_masks_resumes_is_evaluated_and_drawn(run, tmp_path):
    check_resume("rtdetr_masks_quick_start.yaml", TINY, tmp_path / "resumed")
    options = ["--config-file", "rtdetr_masks_quick_start.yaml", *TINY, "OUTPUT_DIR", tmp_path]
    assert run("train_net", *options).status == 0
    assert 0 <= metrics(tmp_path)[-1]["segm/AP50"] <= 100
    assert {"segmentation", "bbox", "score"} <= check_drawing(run, tmp_path)


def test_mixed_precision_trains(tmp_path):
    options = [*TINY, "SOLVER.AMP.ENABLED", True, "SOLVER.AMP.PRECISION", "bfloat16"]
    weights = train("rtdetr_quick_start.yaml", options, tmp_path, 2)
    assert all(value.isfinite().all() for value in weights.values())


def _gradients(kind: str, parts: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    norm = "MODEL.HGNET.NORM" if kind == "dfine" else "MODEL.RESNETS.NORM"
    options = [*MASKS, "MODEL.RTDETR.NORM", "FrozenBN", norm, "FrozenBN"]
    model = build_model(small_cfg(kind, *options))
    batch = [image(seed, count) for seed, count in enumerate((1, 4, 0, 2))]
    return gradients(model, batch, parts)


@pytest.mark.parametrize("kind", ["rtdetr", "dfine"])
def test_gradients_in_passes_are_those_of_one(kind):
    """Images with one, four, no and two objects: losses are divided by objects of the batch."""
    one, several = _gradients(kind, 1), _gradients(kind, 4)
    for name, value in one.items():
        scale = value.abs().max().clamp(min=1e-3)
        assert (several[name] - value).abs().max() < 2e-3 * scale, name


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


@pytest.mark.slow
def test_it_learns_the_shapes_from_nothing(tmp_path):
    """AP50 87.4 was measured, after 9 minutes of processor time."""
    options = ["MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(tmp_path)]
    trainer = DefaultTrainer(setup_cfg("rtdetr_quick_start.yaml", options))
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert metrics(tmp_path)[-1]["bbox/AP50"] > 80
