"""Models of projects learn the built-in shapes from scratch, or a few images by heart."""

import pytest
import torch

from d2lite.engine import DefaultTrainer, setup_cfg
from d2lite.modeling import build_model

from .runs import learn, metrics
from .yolov3.small import small_cfg as yolov3_cfg
from .yolox.small import image

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("recipe", "options", "least"),
    [
        ("gfl_quick_start.yaml", [], {"bbox/AP50": 80}),
        ("gfl_quick_start.yaml", ["MODEL.META_ARCHITECTURE", "ATSS"], {"bbox/AP50": 80}),
        (
            "gfl_quick_start.yaml",
            ["MODEL.META_ARCHITECTURE", "FSAF", "MODEL.DENSE.BOX_WEIGHT", 1.0],
            {"bbox/AP50": 80},
        ),
        (
            "gfl_quick_start.yaml",
            ["MODEL.META_ARCHITECTURE", "SABLRetinaNet", "MODEL.DENSE.BOX_WEIGHT", 1.5],
            {"bbox/AP50": 80},
        ),
        ("dino_shapes.yaml", [], {"bbox/AP50": 80}),
        ("ssdlite_shapes.yaml", [], {"bbox/AP50": 80}),
        ("rtdetr_quick_start.yaml", [], {"bbox/AP50": 80}),
        ("rtmdet_quick_start.yaml", [], {"bbox/AP50": 80, "segm/AP50": 80}),
        ("yolox_quick_start.yaml", [], {"bbox/AP50": 80}),
        # Some ten minutes on one core; 17.4 was measured.
        ("mask2former_shapes.yaml", ["SOLVER.MAX_ITER", 800], {"segm/AP50": 10}),
    ],
)
def test_it_learns_the_shapes_from_scratch(recipe, options, least, tmp_path):
    options = ["MODEL.DEVICE", "cpu", *options, "OUTPUT_DIR", str(tmp_path)]
    trainer = DefaultTrainer(setup_cfg(recipe, options))
    trainer.resume_or_load(resume=False)
    trainer.train()
    last = metrics(tmp_path)[-1]
    assert all(last[score] > value for score, value in least.items()), last


def test_yolov3_learns_a_few_images():
    torch.manual_seed(0)
    anchors = "[[[60, 60], [80, 80]], [[34, 34], [50, 50]], [[12, 12], [22, 22]]]"
    model = build_model(yolov3_cfg("yolov3_416.yaml", "MODEL.YOLOV3.ANCHORS", anchors))
    batch = [image(seed, 3, 96, 96) for seed in range(4)]
    assert learn(model, batch, 0.002, 150) == (12, 12)
