"""Whole runs on the built-in shapes, and recipes of the published sizes."""

import pytest
import torch

from d2lite.config import find_config_file, get_cfg
from d2lite.engine import DefaultTrainer, setup_cfg
from d2lite.modeling import build_model
from d2lite.projects.yolox import YOLOX, add_yolox_config

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

# Parameters of the models that MMDetection 3.3.0 builds from its files.
SIZES = {
    "yolox_nano": 912159,
    "yolox_tiny": 5055855,
    "yolox_s": 8968255,
    "yolox_m": 25326495,
    "yolox_l": 54208895,
    "yolox_x": 99071455,
}


@pytest.mark.parametrize("name", SIZES)
def test_each_recipe_has_the_published_number_of_parameters(name):
    cfg = get_cfg()
    add_yolox_config(cfg)
    cfg.merge_from_file(find_config_file(f"{name}.yaml"))
    with torch.device("meta"):
        model = YOLOX(cfg)
    assert sum(value.numel() for value in model.parameters()) == SIZES[name]


def test_train_go_on_evaluate_and_draw(run, tmp_path):
    """The number of classes follows from the set."""
    options = ["--config-file", "yolox_quick_start.yaml", *TINY, "OUTPUT_DIR", tmp_path]
    weights = train_and_go_on(run, options, tmp_path, "bbox/AP50")
    assert len(weights["head.cls_preds.0.bias"]) == 5
    assert {"category_name", "bbox", "score"} <= check_drawing(run, tmp_path)


def test_resumed_run_ends_where_an_unbroken_one_ends(tmp_path):
    """The last two of four iterations compare boxes by L1 too."""
    check_resume("yolox_quick_start.yaml", [*TINY, "MODEL.YOLOX.L1_LAST_PART", "0.5"], tmp_path)


def test_the_published_augmentation_trains(tmp_path):
    augmentations = (
        "['Mosaic(size=(64, 64), scale=(0.1, 2.0))', 'RandomFlip', 'MixUp(prob=1.0)', "
        "\"ResizeShortestEdge((32, 64, 96), 96, 'choice')\"]"
    )
    options = [*TINY, "INPUT.AUGMENTATIONS", augmentations, "INPUT.SIZE_BY_BATCH", "True"]
    weights = train("yolox_quick_start.yaml", options, tmp_path, 2)
    assert all(value.isfinite().all() for value in weights.values())


def _gradients(parts: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    norms = ["MODEL.YOLOX.NORM", "FrozenBN", "MODEL.CSPDARKNET.NORM", "FrozenBN"]
    model = build_model(small_cfg("yolox_s.yaml", *norms))
    # Pixels of 0 to 255 without a norm that learns would end in sizes beyond float32.
    model.backbone.bottom_up.stem.conv.conv.weight.data /= 255
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
    trainer = DefaultTrainer(setup_cfg("yolox_quick_start.yaml", options))
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert metrics(tmp_path)[-1]["bbox/AP50"] > 80
