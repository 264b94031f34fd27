"""Averaged weights: what is in them, where they are used, and that a resume keeps them exactly."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from d2lite.engine import (
    DefaultPredictor,
    PreciseBN,
    SimpleTrainer,
    WeightAverage,
    WeightAveraging,
    evaluate_checkpoint,
)
from d2lite.utils.errors import ConfigError

from .conftest import run, saved
from .toys import LineModel, PointStream, make_sgd


class Tied(nn.Module):
    """A weight under two names, a frozen one, a batch norm and a constant that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2, bias=False)
        self.second = nn.Linear(2, 2, bias=False)
        self.second.weight = self.first.weight
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("constant", torch.ones(2), persistent=False)


def fill_(model: nn.Module, value: float) -> None:
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.fill_(value)


def copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}


def test_average_moves_by_the_share_that_the_decay_leaves():
    """After values 0, 10 and 20 with decay 0.8: 0.8 * (0.2 * 10) + 0.2 * 20 = 5.6."""
    model = Tied()
    fill_(model, 0.0)
    average = WeightAverage(model, 0.8, warmup=False)
    for value in (10.0, 20.0):
        fill_(model, value)
        average.update()
    state = average.model_state()
    for name in ("first.weight", "norm.weight", "norm.running_mean", "norm.running_var"):
        assert torch.allclose(state[name], torch.tensor(5.6)), name


def test_warmup_lets_the_first_steps_count_for_more():
    """At update n the decay is at most (1 + n) / (10 + n): here 2/11, then 3/12."""
    model = Tied()
    fill_(model, 0.0)
    average = WeightAverage(model, 0.999)
    fill_(model, 11.0)
    average.update()
    assert torch.allclose(average.model_state()["first.weight"], torch.tensor(9.0))
    fill_(model, 13.0)
    average.update()
    assert torch.allclose(average.model_state()["first.weight"], torch.tensor(12.0))


def test_whole_numbers_are_taken_over_and_frozen_weights_are_left():
    model = Tied()
    average = WeightAverage(model, 0.5)
    fill_(model, 7.0)
    average.update()
    state = average.model_state()
    assert state["norm.num_batches_tracked"] == 7
    assert torch.equal(state["frozen.weight"], torch.full((2, 2), 7.0))
    assert set(state) == set(model.state_dict())
    kept = average.state_dict()["training_weights"]
    assert "frozen.weight" not in kept
    assert "second.weight" not in kept, "a tied weight is averaged once"


def test_tied_weight_is_averaged_under_both_names():
    model = Tied()
    fill_(model, 0.0)
    average = WeightAverage(model, 0.5, warmup=False)
    fill_(model, 1.0)
    average.update()
    state = average.model_state()
    assert torch.equal(state["second.weight"], state["first.weight"])
    assert state["second.weight"][0, 0] == 0.5


def test_applied_gives_the_average_and_takes_it_back_after_an_exception():
    model = Tied()
    fill_(model, 0.0)
    average = WeightAverage(model, 0.5, warmup=False)
    fill_(model, 4.0)
    average.update()
    saved = copied(average.model_state()), copied(average.state_dict()["training_weights"])
    with average.applied():
        assert model.first.weight[0, 0] == 2.0
        with average.applied():
            assert model.first.weight[0, 0] == 2.0, "inside of itself it changes nothing"
        assert model.first.weight[0, 0] == 2.0
        # A save in the middle writes the same as one outside.
        inside = average.model_state(), average.state_dict()["training_weights"]
        for found, expected in zip(inside, saved, strict=True):
            assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert model.first.weight[0, 0] == 4.0
    with pytest.raises(RuntimeError, match="evaluator died"), average.applied():
        raise RuntimeError("evaluator died")
    assert model.first.weight[0, 0] == 4.0
    assert average.model_state()["first.weight"][0, 0] == 2.0


def test_batch_norm_that_is_measured_inside_belongs_to_the_average():
    """So precise statistics go with the weights they were measured for."""
    model = Tied()
    average = WeightAverage(model, 0.5)
    with average.applied():
        model.norm.running_mean.fill_(3.0)
    assert torch.equal(model.norm.running_mean, torch.zeros(2))
    assert torch.equal(average.model_state()["norm.running_mean"], torch.full((2,), 3.0))


def test_state_brings_back_training_weights_and_average():
    """A checkpoint holds the average as its model, and the rest here."""
    model, other = Tied(), Tied()
    average = WeightAverage(model, 0.5)
    fill_(model, 4.0)
    average.update()
    state, averaged = average.state_dict(), copied(average.model_state())
    again = WeightAverage(other, 0.5)
    other.load_state_dict(averaged)
    again.load_state_dict(state)
    assert again.num_updates == 1
    assert other.first.weight[0, 0] == 4.0
    assert all(torch.equal(value, averaged[name]) for name, value in again.model_state().items())


def test_state_of_other_trained_weights_is_refused():
    model = Tied()
    state = WeightAverage(model, 0.5).state_dict()
    model.norm.weight.requires_grad_(False)
    with pytest.raises(ConfigError, match=r"other weights are trained now: norm\.weight"):
        WeightAverage(model, 0.5).load_state_dict(state)


@pytest.mark.parametrize("decay", [1.0, -0.1])
def test_decay_that_is_no_share_is_refused(decay):
    with pytest.raises(ConfigError, match=r"MODEL_EMA\.DECAY="):
        WeightAverage(Tied(), decay)


def test_weights_of_half_precision_are_refused():
    """An average with decay 0.999 moves by less than such a number can."""
    with pytest.raises(ConfigError, match=r"first\.weight is torch\.bfloat16"):
        WeightAverage(Tied().bfloat16(), 0.9)


def test_hook_begins_with_the_weights_that_the_run_begins_with():
    """They are loaded after the hook is made."""
    model = LineModel()
    average = WeightAverage(model, 0.9)
    trainer = SimpleTrainer(model, PointStream(), make_sgd(model))
    trainer.register_hooks([WeightAveraging(average)])
    fill_(model, 0.25)
    trainer.train(0, 0)
    assert torch.equal(average.model_state()["line.weight"], torch.full((1, 2), 0.25))
    trainer.train(0, 3)
    assert average.num_updates == 3


def test_run_without_an_average_gets_one_when_it_is_resumed(caplog):
    model = LineModel()
    average = WeightAverage(model, 0.9)
    trainer = SimpleTrainer(model, PointStream(), make_sgd(model))
    trainer.register_hooks([WeightAveraging(average)])
    trainer.train(2, 3)
    assert "the checkpoint holds no averaged weights" in caplog.text.lower()


# ------------------------------------------------------------------ in a whole run


def averaging(cfg, **options):
    """The config with averaging on, and BatchNorm, dropout and accumulation beside it."""
    cfg.MODEL_EMA.ENABLED = True
    cfg.MODEL_EMA.DECAY = 0.9
    cfg.SOLVER.IMS_PER_BATCH = 4
    cfg.SOLVER.ACCUMULATE_STEPS = 2
    cfg.SOLVER.CHECKPOINT_PERIOD = 2
    cfg.merge_from_list([item for pair in options.items() for item in pair])
    return cfg


def test_files_evaluation_and_predictor_use_the_average(toy_cfg, tmp_path):
    """What people download, evaluate and demo is what the training's numbers are of."""
    trainer = run(averaging(toy_cfg))
    content = saved(toy_cfg, "model_final.pth")
    trained = content["trainer"]["hooks"]["WeightAveraging"]["training_weights"]
    assert torch.equal(trained["box.weight"], trainer.model.box.weight)
    assert not torch.equal(content["model"]["box.weight"], trainer.model.box.weight)
    with trainer.evaluated_weights():
        assert torch.equal(content["model"]["box.weight"], trainer.model.box.weight)

    weights = str(Path(toy_cfg.OUTPUT_DIR) / "model_final.pth")
    plain = toy_cfg.clone()
    plain.MODEL_EMA.ENABLED = False
    plain.OUTPUT_DIR = str(tmp_path / "plain")
    for cfg in (toy_cfg, plain):
        cfg.MODEL.WEIGHTS = weights
        again = evaluate_checkpoint(cfg)
        assert json.dumps(again) == json.dumps(trainer._last_eval_results)
    predictor = DefaultPredictor(plain)
    assert torch.equal(predictor.model.box.weight, content["model"]["box.weight"])


def test_resumed_run_ends_bit_for_bit_as_the_uninterrupted_one(toy_cfg, tmp_path):
    """With precise batch norm and evaluations in between, and twice stopped."""
    averaging(
        toy_cfg,
        **{"TEST.PRECISE_BN.ENABLED": True, "TEST.PRECISE_BN.NUM_ITER": 2, "TEST.EVAL_PERIOD": 3},
    )
    whole_cfg = toy_cfg.clone()
    whole_cfg.OUTPUT_DIR = str(tmp_path / "whole")
    run(whole_cfg)
    run(toy_cfg, stop_at=3)
    run(toy_cfg, resume=True, stop_at=5)
    torch.manual_seed(77)
    run(toy_cfg, resume=True)
    final, expected = (saved(cfg, "model_final.pth") for cfg in (toy_cfg, whole_cfg))
    for name, value in expected["model"].items():
        assert torch.equal(final["model"][name], value), name
    found, wanted = (c["trainer"]["hooks"]["WeightAveraging"] for c in (final, expected))
    assert found["num_updates"] == wanted["num_updates"] == 6
    for name, value in wanted["training_weights"].items():
        assert torch.equal(found["training_weights"][name], value), name


def test_averaging_does_not_change_the_training(toy_cfg, tmp_path):
    """Evaluations inside exchange all weights, and must give every bit back."""
    averaging(toy_cfg, **{"TEST.EVAL_PERIOD": 2, "TEST.LOSS_PERIOD": 1})
    plain = toy_cfg.clone()
    plain.MODEL_EMA.ENABLED = False
    plain.TEST.EVAL_PERIOD = plain.TEST.LOSS_PERIOD = 0
    plain.OUTPUT_DIR = str(tmp_path / "plain")
    found, expected = run(toy_cfg).model.state_dict(), run(plain).model.state_dict()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_precise_statistics_are_measured_for_the_average(toy_cfg):
    """Those of the training keep moving as they did."""
    averaging(toy_cfg, **{"TEST.PRECISE_BN.ENABLED": True, "TEST.PRECISE_BN.NUM_ITER": 3})
    trainer = run(toy_cfg)
    model, average = trainer.model, trainer.weight_average
    colours = []
    model.register_forward_pre_hook(
        lambda _, args: colours.append(
            torch.stack([sample["image"].float().mean((1, 2)) for sample in args[0]])
        )
    )
    hook = next(hook for hook in trainer._hooks if isinstance(hook, PreciseBN))
    before = model.norm.running_mean.clone()
    trainer.iter = 5
    hook.update_stats()
    assert torch.equal(model.norm.running_mean, before)
    precise = average.model_state()["norm.running_mean"]
    assert torch.allclose(precise, torch.stack([c.mean(0) for c in colours]).mean(0))
    assert not torch.equal(precise, before)


def test_run_cannot_lose_its_average_at_a_resume(toy_cfg):
    """The model in its files is the average, from which the optimizer cannot go on."""
    run(averaging(toy_cfg), stop_at=3)
    toy_cfg.MODEL_EMA.ENABLED = False
    with pytest.raises(ConfigError, match=r"MODEL_EMA\.ENABLED True -> False"):
        run(toy_cfg, resume=True)
