"""Whole runs on the built-in shapes."""

import pytest
import torch

from d2lite.modeling import build_model

from ..runs import check_drawing, check_resume, gradients, train_and_go_on
from .small import image, small_cfg

pytest.importorskip("timm")

TINY = [
    "MODEL.DEVICE", "cpu",
    "MODEL.ADAPTER.OPTIONS.patch_size", "16",
    "MODEL.ADAPTER.OPTIONS.embed_dim", "48",
    "MODEL.ADAPTER.OPTIONS.depth", "3",
    "MODEL.ADAPTER.OPTIONS.num_heads", "2",
    "MODEL.EOMT.BLOCKS", "2",
    "MODEL.EOMT.QUERIES", "6",
    "MODEL.EOMT.TRAIN_NUM_POINTS", "64",
    "INPUT.MIN_SIZE_TRAIN", "(64,)",
    "INPUT.MIN_SIZE_TEST", "64",
    "DATALOADER.NUM_WORKERS", "0",
    "SOLVER.IMS_PER_BATCH", "2",
    "SOLVER.MAX_ITER", "2",
    "SOLVER.WARMUP_ITERS", "0",
    "TEST.EVAL_PERIOD", "0",
]  # fmt: skip


def test_train_go_on_evaluate_and_draw(run, tmp_path):
    """The number of classes follows from the set."""
    options = ["--config-file", "eomt_shapes.yaml", *TINY, "OUTPUT_DIR", tmp_path]
    train_and_go_on(run, options, tmp_path, "segm/AP50")
    assert {"category_name", "segmentation", "bbox", "score"} <= check_drawing(run, tmp_path)


def test_resumed_run_ends_where_an_unbroken_one_ends(tmp_path):
    """Which queries are masked, and for how long, follows from the position."""
    check_resume("eomt_shapes.yaml", TINY, tmp_path)


def _gradients(parts: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = build_model(small_cfg())
    batch = [image(seed, count) for seed, count in enumerate((1, 4, 0, 2))]
    return gradients(model, batch, parts)


def test_gradients_in_passes_are_those_of_one():
    """Images with one, four, no and two objects: losses are divided by objects of the batch."""
    one, several = _gradients(1), _gradients(4)
    for name, value in one.items():
        scale = value.abs().max().clamp(min=1e-3)
        assert (several[name] - value).abs().max() < 2e-3 * scale, name
