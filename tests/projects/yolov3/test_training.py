"""Whole runs on the built-in shapes."""

import pytest
import torch

from d2lite.modeling import build_model

from ..runs import check_drawing, check_resume, gradients, learn, metrics
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


@pytest.mark.slow
def test_train_evaluate_and_draw(run, tmp_path):
    """The number of classes follows from the set."""
    made = run(
        "train_net", "--config-file", "yolov3_quick_start.yaml", *TINY, "OUTPUT_DIR", tmp_path
    )
    assert made.status == 0, made.err
    assert 0 <= metrics(tmp_path)[-1]["bbox/AP50"] <= 100
    weights = torch.load(tmp_path / "model_final.pth", weights_only=True)["model"]
    assert len(weights["head.convs_pred.0.bias"]) == 3 * (5 + 5)
    check_drawing(run, tmp_path)


def test_resumed_run_ends_where_an_unbroken_one_ends(tmp_path):
    check_resume("yolov3_quick_start.yaml", TINY, tmp_path)


def _gradients(parts: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    norms = ["MODEL.YOLOV3.NORM", "FrozenBN", "MODEL.DARKNET.NORM", "FrozenBN"]
    model = build_model(small_cfg("yolov3_608.yaml", *norms))
    batch = [image(seed, count) for seed, count in enumerate((1, 4, 0, 2))]
    return gradients(model, batch, parts)


def test_gradients_in_passes_are_those_of_one():
    """Images with one, four, no and two objects: losses are sums over the batch."""
    one, several = _gradients(1), _gradients(4)
    for name, value in one.items():
        scale = value.abs().max().clamp(min=1e-4)
        assert (several[name] - value).abs().max() < 2e-3 * scale, name


@pytest.mark.slow
def test_it_learns_a_few_images():
    torch.manual_seed(0)
    anchors = "[[[60, 60], [80, 80]], [[34, 34], [50, 50]], [[12, 12], [22, 22]]]"
    model = build_model(small_cfg("yolov3_416.yaml", "MODEL.YOLOV3.ANCHORS", anchors))
    batch = [image(seed, 3, 96, 96) for seed in range(4)]
    assert learn(model, batch, 0.002, 150) == (12, 12)
