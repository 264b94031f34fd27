"""MODEL.KEEP_MATCHING_CLASSES in a run: a detector of some classes begins one of others."""

import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from d2lite.engine import DefaultTrainer
from d2lite.engine.hooks.class_check import ClassCheckHook
from d2lite.modeling import META_ARCH_REGISTRY

from .conftest import make_records
from .toys import ToyDetector


@META_ARCH_REGISTRY.register()
class ToyDetectorWithHead(ToyDetector):
    """Scores from `head.cls_score`, the name that class rows have in dense detectors."""

    def __init__(self, cfg) -> None:
        super().__init__(cfg)
        self.head = nn.Module()
        self.head.cls_score = self.score


@pytest.mark.parametrize("keep", [True, False])
def test_classes_of_the_same_name_begin_with_their_rows(toy_cfg, register, tmp_path, caplog, keep):
    caplog.set_level(logging.INFO)
    toy_cfg.MODEL.META_ARCHITECTURE = "ToyDetectorWithHead"
    first = DefaultTrainer(toy_cfg)
    with torch.no_grad():
        # A fresh model of the same seed has the same fresh rows.
        first.model.score.weight.add_(1)
    first.checkpointer.save("first")
    rows = first.model.state_dict()["head.cls_score.weight"].clone()
    names = first.class_names

    now = [names[2], "something new", names[0]]
    register("renamed", make_records(tmp_path, 4), now)
    toy_cfg.DATASETS.TRAIN = toy_cfg.DATASETS.TEST = ("renamed",)
    toy_cfg.MODEL.WEIGHTS = str(Path(toy_cfg.OUTPUT_DIR) / "first.pth")
    toy_cfg.MODEL.KEEP_MATCHING_CLASSES = keep
    toy_cfg.OUTPUT_DIR = str(tmp_path / "second")
    second = DefaultTrainer(toy_cfg)
    second.resume_or_load(resume=False)
    (check,) = [hook for hook in second._hooks if isinstance(hook, ClassCheckHook)]
    check.before_train()
    begun = second.model.state_dict()["head.cls_score.weight"]
    if keep:
        assert torch.equal(begun[[0, 2]], rows[[2, 0]])
        assert not torch.equal(begun[1], rows[1])
        assert f"2 of 3 classes have their names and rows in the file: {now[0]}" in caplog.text
        assert "begin as classifiers of the other classes" not in caplog.text
    else:
        assert torch.equal(begun, rows)
        assert "begin as classifiers of the other classes" in caplog.text
