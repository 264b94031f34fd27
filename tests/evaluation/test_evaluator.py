import logging

import pytest
import torch
from torch import nn

from d2lite.evaluation import (
    DatasetEvaluator,
    DatasetEvaluators,
    inference_context,
    inference_on_dataset,
)


class _Counts(DatasetEvaluator):
    def __init__(self, task: str) -> None:
        self.task = task

    def reset(self) -> None:
        self.count = 0

    def process(self, inputs, outputs) -> None:
        self.count += len(outputs)

    def evaluate(self):
        return {self.task: {"images": self.count}}


def _batches(count: int):
    return [[{"x": i}, {"x": i}] for i in range(count)]


def test_context_gives_each_part_its_own_mode_back():
    """A frozen batch norm inside a training model must not wake up after an evaluation."""
    model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2)).train()
    model[1].eval()
    with inference_context(model):
        assert not any(m.training for m in model.modules())
    assert model.training
    assert model[0].training
    assert not model[1].training


def test_context_restores_after_an_exception():
    model = nn.Linear(1, 1).train()
    with pytest.raises(RuntimeError, match="boom"), inference_context(model):
        raise RuntimeError("boom")
    assert model.training


def test_every_image_reaches_every_evaluator_without_gradients():
    seen = []

    def model(inputs):
        seen.append(torch.is_grad_enabled())
        return inputs

    results = inference_on_dataset(model, _batches(3), [_Counts("a"), _Counts("b")])
    assert results == {"a": {"images": 6}, "b": {"images": 6}}
    assert seen == [False] * 3


def test_two_evaluators_of_one_task_are_refused():
    evaluators = DatasetEvaluators([_Counts("bbox"), _Counts("bbox")])
    evaluators.reset()
    with pytest.raises(ValueError, match="results for bbox"):
        evaluators.evaluate()


def test_callbacks_are_called_around_each_batch():
    calls = []
    names = ["on_start", "before_inference", "after_inference", "on_end"]
    callbacks = {name: lambda name=name: calls.append(name) for name in names}
    inference_on_dataset(lambda x: x, _batches(2), None, callbacks)
    assert calls == [names[0], names[1], names[2], names[1], names[2], names[3]]


def test_progress_names_batches_and_the_time_left(caplog):
    with caplog.at_level(logging.INFO, logger="d2lite.evaluation.evaluator"):
        inference_on_dataset(lambda x: x, _batches(10), None, log_period=0.0)
    assert "Inference: 7/10 batches" in caplog.text
    assert "ETA 0:00:0" in caplog.text
    assert "20 images" in caplog.text


def test_loader_without_length_and_without_images_is_no_crash(caplog):
    results = inference_on_dataset(lambda x: x, iter([]), _Counts("a"))
    assert results == {"a": {"images": 0}}
    assert "gave no image" in caplog.text
