"""The memory of a training, as a forward pass on the CPU finds it."""

import pytest
import torch
from torch import nn

from d2lite.commands.actions.memory_probe import measure_memory, saved_bytes
from d2lite.data import DatasetCatalog
from d2lite.engine import setup_cfg

from ..tools.conftest import TINY

FLOAT = 4


class Squares(nn.Module):
    """Its gradient needs the weight, the input, and what is squared."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(10, 20, bias=False)

    def forward(self, batch):
        x = torch.stack([item["image"] for item in batch])
        return {"loss": self.layer(x).square().sum()}


def test_saved_tensors_are_counted_once_and_weights_are_not():
    batch = [{"image": torch.ones(10)} for _ in range(3)]
    assert saved_bytes(Squares(), batch) == 3 * (10 + 20) * FLOAT


def test_memory_grows_with_images_optimizer_and_averages():
    records = DatasetCatalog.get("shapes_train")[:2]
    names = ["circle", "square", "triangle", "star", "heart"]

    def measured(*opts):
        cfg = setup_cfg("quick_start.yaml", [*TINY, *opts])
        return measure_memory(cfg, records, names)

    small = measured("SOLVER.OPTIMIZER", "SGD", "MODEL_EMA.ENABLED", False)
    large = measured("INPUT.MIN_SIZE_TRAIN", "(64, 128)")
    adam = measured("SOLVER.OPTIMIZER", "AdamW", "MODEL_EMA.ENABLED", False)
    averaged = measured("SOLVER.OPTIMIZER", "AdamW", "MODEL_EMA.ENABLED", True)
    # Four times the pixels; the heads of boxes and masks see as many cells as before.
    assert 2 < large.image / small.image < 5
    assert small.fixed < adam.fixed < averaged.fixed
    # Other weights propose other boxes.
    assert adam.image == pytest.approx(small.image, rel=0.3)
