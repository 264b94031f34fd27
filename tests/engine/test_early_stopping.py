"""Early stopping: when it ends a run, what the end leaves behind, and what a resume knows."""

import json
import logging
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from d2lite.engine import DefaultTrainer, EarlyStopping, EvalHook, SimpleTrainer
from d2lite.utils.errors import ConfigError

from .conftest import run as run_any
from .conftest import saved
from .toys import LineModel, PointStream, make_sgd


def train(values, *, steps=20, **options) -> tuple[SimpleTrainer, EarlyStopping]:
    """A run whose evaluation after each second step gives the next of `values`."""
    left = iter(values)
    model = LineModel()
    trainer = SimpleTrainer(model, PointStream(), make_sgd(model))
    options = {"period": 2, "metric": "bbox/AP", "patience": 2, **options}
    hook = EarlyStopping(**options)
    trainer.register_hooks(
        [EvalHook(2, lambda: {"bbox": {"AP": next(left)}}, eval_after_train=False), hook]
    )
    trainer.train(0, steps)
    return trainer, hook


@pytest.mark.parametrize(
    ("mode", "values", "steps_made"),
    [
        ("max", [1, 2, 3, 3, 2, 9, 9], 10),
        ("min", [3, 2, 2.5, 1, 1, 1, 0], 12),
        # NaN is never better, and counts.
        ("max", [float("nan"), float("nan"), 5, 5], 4),
        # Two bad ones in a row, not two in all.
        ("max", [1, 0, 2, 1, 3, 2, 4, 3, 5, 4], 20),
    ],
)
def test_run_ends_after_patience_evaluations_without_a_better_value(mode, values, steps_made):
    trainer, _ = train(values, mode=mode)
    assert trainer.iter == trainer.max_iter == steps_made


@pytest.mark.parametrize(("min_delta", "steps_made"), [(0.0, 20), (0.1, 6)])
def test_better_by_less_than_min_delta_is_not_better(min_delta, steps_made):
    """With the default of 0 every gain counts, however small."""
    values = [1 + 0.01 * number for number in range(10)]
    trainer, _ = train(values, min_delta=min_delta)
    assert trainer.iter == steps_made


def test_measurement_counts_once_however_often_it_is_looked_at():
    """A hook that works at each step sees each evaluation, here of every second step, twice."""
    trainer, _ = train([5, 4, 4, 4, 4, 4, 4, 4, 4, 4], period=1, patience=3)
    assert trainer.iter == 8


def test_unmeasured_metric_ends_no_run():
    trainer, hook = train([1] * 10, metric="segm/AP")
    assert trainer.iter == 20
    assert hook.num_bad == 0


def test_state_counts_on_where_it_stood():
    _, hook = train([5, 4], steps=4)
    state = hook.state_dict()
    again = EarlyStopping(2, "bbox/AP", patience=2)
    again.load_state_dict(state)
    assert (again.best_metric, again.best_iter, again.num_bad) == (5.0, 1, 1)


def test_best_of_another_metric_is_forgotten(caplog):
    _, hook = train([5, 4], steps=4)
    again = EarlyStopping(2, "segm/AP", patience=2)
    again.load_state_dict(hook.state_dict())
    assert again.best_metric is None
    assert "watched 'bbox/AP'" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "best"}, r"EARLY_STOPPING\.MODE='best'"),
        ({"patience": 0}, r"EARLY_STOPPING\.PATIENCE=0"),
        ({"min_delta": -1.0}, r"EARLY_STOPPING\.MIN_DELTA=-1"),
        ({"period": 0}, r"'bbox/AP', which is not measured during the training"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        EarlyStopping(**{"period": 2, "metric": "bbox/AP", **options})


# ------------------------------------------------------------------ in a whole run


class Scripted(DefaultTrainer):
    """Its evaluation gives the same result every time, and counts."""

    evaluated_at: ClassVar[list[int]] = []

    def _evaluate(self):
        self.evaluated_at.append(self.iter)
        self._last_eval_results = {"bbox": {"AP": 1.0}}
        return self._last_eval_results


def stopping(cfg):
    cfg.SOLVER.MAX_ITER = 20
    cfg.SOLVER.EARLY_STOPPING.METRIC = "bbox/AP"
    cfg.SOLVER.EARLY_STOPPING.PATIENCE = 2
    cfg.SOLVER.BEST_CHECKPOINT.METRIC = "bbox/AP"
    cfg.SOLVER.CHECKPOINT_PERIOD = 5
    cfg.TEST.EVAL_PERIOD = 3
    Scripted.evaluated_at.clear()
    return cfg


def run(cfg, **how) -> Scripted:
    return run_any(cfg, Scripted, **how)


def iterations(cfg) -> list[int]:
    lines = (Path(cfg.OUTPUT_DIR) / "metrics.json").read_text().splitlines()
    return [json.loads(line)["iteration"] for line in lines]


def test_stopped_run_is_complete(toy_cfg, caplog):
    """Its last step is the last in every respect, and is not evaluated twice."""
    with caplog.at_level(logging.INFO):
        trainer = run(stopping(toy_cfg))
    assert Scripted.evaluated_at == [2, 5, 8]
    final = saved(toy_cfg, "model_final.pth")
    assert final["iteration"] == final["trainer"]["iteration"] == 8
    assert torch.equal(final["model"]["box.weight"], trainer.model.box.weight)
    assert saved(toy_cfg, "model_best.pth")["iteration"] == 2
    assert iterations(toy_cfg)[-1] == 8
    assert "Stopped early, after 9 of 20 iterations" in caplog.text
    assert caplog.records[-1].getMessage().startswith("Finished: 9 iterations")


def test_finished_early_stays_finished_when_resumed(toy_cfg):
    run(stopping(toy_cfg))
    again = run(toy_cfg, resume=True)
    assert again.start_iter == again.iter == 9
    assert saved(toy_cfg, "model_final.pth")["iteration"] == 8


def test_resume_with_more_patience_goes_on(toy_cfg):
    run(stopping(toy_cfg))
    toy_cfg.SOLVER.EARLY_STOPPING.PATIENCE = 3
    assert run(toy_cfg, resume=True).iter == 12


def test_patience_survives_a_kill(toy_cfg):
    """Killed after the checkpoint of step 5: the bad evaluation of step 6 is made again."""
    run(stopping(toy_cfg), stop_at=7)
    resumed = run(toy_cfg, resume=True)
    assert resumed.start_iter == 5
    assert resumed.iter == 9
    assert Scripted.evaluated_at == [2, 5, 5, 8]


def test_evaluation_of_the_very_step_that_was_saved_is_not_lost(toy_cfg):
    """The checkpoint is written before the evaluation, and a kill may come in between."""
    stopping(toy_cfg)
    toy_cfg.SOLVER.CHECKPOINT_PERIOD = 9

    class Dies(Scripted):
        def _evaluate(self):
            if self.iter == 8:
                raise KeyboardInterrupt
            return super()._evaluate()

    with pytest.raises(KeyboardInterrupt):
        Dies(toy_cfg).train()
    resumed = run(toy_cfg, resume=True)
    assert resumed.start_iter == 9
    assert resumed.iter == 9, "not one step more than the run that was never killed"
    assert saved(toy_cfg, "model_final.pth")["iteration"] == 8


def test_metric_that_is_never_measured_is_refused_before_the_training(toy_cfg):
    toy_cfg.SOLVER.EARLY_STOPPING.METRIC = "validation/total_loss"
    with pytest.raises(ConfigError, match=r"TEST\.LOSS_PERIOD 0 measures none"):
        DefaultTrainer(toy_cfg)
    toy_cfg.SOLVER.EARLY_STOPPING.METRIC = "bbox/AP"
    with pytest.raises(ConfigError, match=r"Set TEST\.EVAL_PERIOD"):
        DefaultTrainer(toy_cfg)
