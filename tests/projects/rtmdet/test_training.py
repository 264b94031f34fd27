"""Whole runs on the built-in shapes, and recipes of the published sizes."""

import pytest
import torch

from d2lite.config import find_config_file, get_cfg
from d2lite.engine import DefaultTrainer, setup_cfg
from d2lite.modeling import build_model
from d2lite.projects.rtmdet import RTMDet, add_rtmdet_config

from ..runs import check_drawing, check_resume, gradients, metrics, train, train_and_go_on
from .small import SMALL, image, small_cfg

TINY = [
    *SMALL,
    "INPUT.MIN_SIZE_TRAIN", "(64,)",
    "INPUT.MIN_SIZE_TEST", "64",
    "DATALOADER.NUM_WORKERS", "0",
    "SOLVER.IMS_PER_BATCH", "2",
    "SOLVER.MAX_ITER", "2",
    "SOLVER.WARMUP_ITERS", "0",
    "TEST.EVAL_PERIOD", "0",
]  # fmt: skip

# Millions of parameters, of the models that MMDetection 3.3.0 builds from its files.
SIZES = {
    "rtmdet_tiny": 4.90,
    "rtmdet_s": 8.89,
    "rtmdet_m": 24.71,
    "rtmdet_l": 52.32,
    "rtmdet_x": 94.86,
    "rtmdet_ins_tiny": 5.64,
    "rtmdet_ins_s": 10.18,
    "rtmdet_ins_m": 27.58,
    "rtmdet_ins_l": 57.37,
    "rtmdet_ins_x": 102.7,
}


@pytest.mark.parametrize("name", SIZES)
def test_each_recipe_has_the_published_number_of_parameters(name):
    cfg = get_cfg()
    add_rtmdet_config(cfg)
    cfg.merge_from_file(find_config_file(f"{name}.yaml"))
    cfg.merge_from_list(["MODEL.CSPNEXT.NORM", "BN", "MODEL.RTMDET.NORM", "BN"])
    with torch.device("meta"):
        model = RTMDet(cfg)
    count = sum(value.numel() for value in model.parameters())
    assert count / 1e6 == pytest.approx(SIZES[name], abs=0.006)


def test_train_go_on_evaluate_and_draw(run, tmp_path):
    """The number of classes follows from the set."""
    options = ["--config-file", "rtmdet_quick_start.yaml", *TINY, "OUTPUT_DIR", tmp_path]
    weights = train_and_go_on(run, options, tmp_path, "segm/AP50")
    assert len(weights["head.rtm_cls.0.bias"]) == 5
    assert {"category_name", "segmentation", "bbox", "score"} <= check_drawing(run, tmp_path)


def test_resumed_run_ends_where_an_unbroken_one_ends(tmp_path):
    check_resume("rtmdet_quick_start.yaml", TINY, tmp_path)


def test_the_published_augmentation_trains_with_masks(tmp_path):
    augmentations = "['Mosaic(size=(64, 64), scale=(0.5, 2.0))', 'RandomFlip', 'MixUp(prob=0.5)']"
    options = [*TINY, "INPUT.AUGMENTATIONS", augmentations]
    weights = train("rtmdet_quick_start.yaml", options, tmp_path, 2)
    assert all(value.isfinite().all() for value in weights.values())


def _gradients(parts: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    norms = ["MODEL.RTMDET.NORM", "FrozenBN", "MODEL.CSPNEXT.NORM", "FrozenBN"]
    model = build_model(small_cfg("rtmdet_ins_tiny.yaml", *norms))
    batch = [image(seed, count) for seed, count in enumerate((1, 4, 0, 2))]
    return gradients(model, batch, parts)


def test_gradients_in_passes_are_those_of_one():
    """Images with one, four, no and two objects: losses are divided by sums over the batch."""
    one, several = _gradients(1), _gradients(4)
    for name, value in one.items():
        scale = value.abs().max().clamp(min=1e-4)
        assert (several[name] - value).abs().max() < 2e-3 * scale, name


@pytest.mark.slow
def test_it_learns_the_shapes_from_nothing(tmp_path):
    options = ["MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(tmp_path)]
    trainer = DefaultTrainer(setup_cfg("rtmdet_quick_start.yaml", options))
    trainer.resume_or_load(resume=False)
    trainer.train()
    last = metrics(tmp_path)[-1]
    assert last["bbox/AP50"] > 80
    assert last["segm/AP50"] > 80
