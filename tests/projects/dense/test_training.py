"""Whole runs on the built-in shapes, and recipes of the published sizes."""

import pytest
import torch

from d2lite.config import find_config_file, get_cfg
from d2lite.engine import DefaultTrainer, setup_cfg
from d2lite.modeling import build_model
from d2lite.projects.dense import add_dense_config

from ..runs import check_drawing, check_resume, metrics, train_and_go_on
from .small import RECIPES, SMALL

TINY = [
    *SMALL,
    "MODEL.RESNETS.NORM", "FrozenBN",
    "MODEL.FPN.NORM", "",
    "INPUT.MIN_SIZE_TRAIN", "(64,)",
    "INPUT.MIN_SIZE_TEST", "64",
    "DATALOADER.NUM_WORKERS", "0",
    "SOLVER.IMS_PER_BATCH", "2",
    "SOLVER.MAX_ITER", "2",
    "SOLVER.WARMUP_ITERS", "0",
    "TEST.EVAL_PERIOD", "0",
]  # fmt: skip

# Parameters of the models that MMDetection 3.3.0 builds from its files, ResNet-50.
PARAMETERS = {"ATSS": 32295322, "GFL": 32440537, "VFNet": 32891554, "ScaledFCOS": 32295322}


@pytest.mark.parametrize("kind", RECIPES)
def test_each_recipe_has_the_published_number_of_parameters(kind):
    """Batch norm that does not learn counts with weight and bias there."""
    cfg = get_cfg()
    add_dense_config(cfg)
    cfg.merge_from_file(find_config_file(RECIPES[kind]))
    cfg.merge_from_list(
        ["MODEL.RESNETS.NORM", "BN", "MODEL.BACKBONE.FREEZE_AT", 0, "MODEL.DEVICE", "meta"]
    )
    with torch.device("meta"):
        model = build_model(cfg)
    assert sum(value.numel() for value in model.parameters()) == PARAMETERS[kind]


@pytest.mark.parametrize(
    "kind",
    ["GFL", *(pytest.param(kind, marks=pytest.mark.slow) for kind in RECIPES if kind != "GFL")],
)
def test_train_go_on_evaluate_and_draw(kind, run, tmp_path):
    """The number of classes follows from the set."""
    options = ["--config-file", "gfl_quick_start.yaml", *TINY, "OUTPUT_DIR", tmp_path]
    options += ["MODEL.META_ARCHITECTURE", kind]
    weights = train_and_go_on(run, options, tmp_path, "bbox/AP50")
    assert len(weights["head.cls_score.bias"]) == 5
    if kind == "GFL":
        assert {"category_name", "bbox", "score"} <= check_drawing(run, tmp_path)


def test_resumed_run_ends_where_an_unbroken_one_ends(tmp_path):
    check_resume("gfl_quick_start.yaml", TINY, tmp_path)


@pytest.mark.slow
def test_it_learns_the_shapes_from_nothing(tmp_path):
    options = ["MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(tmp_path)]
    trainer = DefaultTrainer(setup_cfg("gfl_quick_start.yaml", options))
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert metrics(tmp_path)[-1]["bbox/AP50"] > 80
