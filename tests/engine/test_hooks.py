import json
import logging
import math

import pytest
import torch
from fvcore.common.param_scheduler import LinearParamScheduler
from torch import nn

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.engine import (
    AutogradProfiler,
    BestCheckpointer,
    CallbackHook,
    ClassCheckHook,
    EvalHook,
    HookBase,
    IterationTimer,
    LRScheduler,
    PeriodicCheckpointer,
    PeriodicWriter,
    PreciseBN,
    SimpleTrainer,
    TorchMemoryStats,
    TorchProfiler,
)
from d2lite.solver import LRMultiplier
from d2lite.utils.errors import ConfigError
from d2lite.utils.events import EventWriter

from .toys import LineModel, PointStream, make_sgd


def make_trainer(hooks=(), model=None) -> SimpleTrainer:
    model = model or LineModel()
    trainer = SimpleTrainer(model, PointStream(), make_sgd(model))
    trainer.register_hooks(hooks)
    return trainer


def test_callback_hook_calls_what_it_was_given():
    calls = []

    def note(door):
        return lambda trainer: calls.append((door, trainer.iter))

    doors = ["before_train", "before_step", "after_backward", "after_step", "after_train"]
    hook = CallbackHook(**{door: note(door) for door in doors})
    make_trainer([hook, CallbackHook()]).train(0, 1)
    assert calls == [(door, 0) for door in doors[:4]] + [("after_train", 1)]


class TestEvalHook:
    def test_evaluates_at_its_period_and_once_at_the_end(self):
        seen = []
        trainer = make_trainer()
        trainer.register_hooks([EvalHook(2, lambda: seen.append(trainer.iter))])
        trainer.train(0, 6)
        # The evaluation of step 5 is the one after training.
        assert seen == [1, 3, 6]

    def test_without_the_last_evaluation_the_period_alone_counts(self):
        seen = []
        trainer = make_trainer()
        hook = EvalHook(2, lambda: seen.append(trainer.iter), eval_after_train=False)
        trainer.register_hooks([hook])
        trainer.train(0, 4)
        assert seen == [1, 3]

    def test_interrupted_training_may_start_again_and_a_finished_one_is_refused(self):
        """In a notebook, people press stop and then run train() once more."""
        seen, errors = [], [KeyboardInterrupt]

        def stop_once(trainer) -> None:
            if errors:
                raise errors.pop()

        evaluate = EvalHook(0, lambda: seen.append(trainer.iter))
        trainer = make_trainer([CallbackHook(after_step=stop_once), evaluate])
        with pytest.raises(KeyboardInterrupt):
            trainer.train(0, 2)
        trainer.train(0, 2)
        assert seen == [2]
        with pytest.raises(RuntimeError, match="Make a new trainer for the next one"):
            trainer.train(0, 2)
        assert trainer.iter == 0

    def test_broken_training_is_not_evaluated(self):
        seen = []

        def stop(trainer) -> None:
            raise RuntimeError("stop")

        trainer = make_trainer([CallbackHook(after_step=stop), EvalHook(0, lambda: seen.append(1))])
        with pytest.raises(RuntimeError, match="stop"):
            trainer.train(0, 1)
        assert seen == []

    def test_nested_results_reach_the_storage(self):
        trainer = make_trainer([EvalHook(0, lambda: {"bbox": {"AP": 12.5}, "speed": 3})])
        trainer.train(0, 2)
        latest = trainer.storage.latest()
        assert latest["bbox/AP"] == (12.5, 2)
        assert latest["speed"] == (3.0, 2)

    @pytest.mark.parametrize("results", [{"AP": "high"}, 4.0])
    def test_results_that_are_no_numbers_are_named(self, results):
        with pytest.raises(TypeError, match="The evaluation function returned"):
            make_trainer([EvalHook(0, lambda: results)]).train(0, 1)


class TestLRScheduler:
    def test_logs_the_rate_of_the_step_and_moves_on(self):
        model = LineModel()
        optimizer = make_sgd(model, lr=1e-3)
        schedule = LRMultiplier(optimizer, LinearParamScheduler(1.0, 0.0), 4)
        trainer = SimpleTrainer(model, PointStream(), optimizer)
        trainer.register_hooks([LRScheduler(scheduler=schedule)])
        trainer.train(0, 4)
        logged = [value for value, _ in trainer.storage.history("lr").values()]
        assert logged == pytest.approx([1e-3, 0.75e-3, 0.5e-3, 0.25e-3])

    def test_param_scheduler_of_fvcore_works_and_goes_on_in_the_middle(self):
        trainer = make_trainer([LRScheduler(scheduler=LinearParamScheduler(1.0, 0.0))])
        for group in trainer.optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        trainer.train(2, 4)
        logged = [value for value, _ in trainer.storage.history("lr").values()]
        assert logged == pytest.approx([0.05, 0.025])

    def test_logs_the_group_that_stands_for_most(self):
        points = [nn.Parameter(torch.zeros(1)) for _ in range(4)]
        by_size = torch.optim.SGD(
            [{"params": points[:1], "lr": 1.0}, {"params": points[1:], "lr": 2.0}]
        )
        assert LRScheduler.get_best_param_group_id(by_size) == 1
        rates = [3.0, 1.0, 2.0, 1.0]
        each = torch.optim.SGD(
            [{"params": [p], "lr": lr} for p, lr in zip(points, rates, strict=True)]
        )
        assert LRScheduler.get_best_param_group_id(each) == 1


class TestSaving:
    def test_periodic_checkpoints_carry_the_iteration(self, tmp_path):
        trainer = make_trainer()
        checkpointer = DetectionCheckpointer(trainer.model, str(tmp_path))
        trainer.register_hooks([PeriodicCheckpointer(checkpointer, 2, max_to_keep=1)])
        trainer.train(0, 5)
        names = {path.name for path in tmp_path.glob("*.pth")}
        assert names == {"model_0000003.pth", "model_final.pth"}
        final = torch.load(tmp_path / "model_final.pth", weights_only=True)
        assert final["iteration"] == 4

    @pytest.mark.parametrize(("mode", "best"), [("max", 7.0), ("min", 1.0)])
    def test_best_checkpoint_is_that_of_the_best_value(self, tmp_path, mode, best):
        values = iter([3.0, 7.0, math.nan, 1.0])
        trainer = make_trainer([EvalHook(1, lambda: {"bbox": {"AP": next(values)}})])
        checkpointer = DetectionCheckpointer(trainer.model, str(tmp_path))
        hook = BestCheckpointer(1, checkpointer, "bbox/AP", mode)
        trainer.register_hooks([hook])
        trainer.train(0, 4)
        assert hook.best_metric == best
        assert (tmp_path / "model_best.pth").exists()

    def test_best_value_survives_a_resume(self, tmp_path):
        """Else the first evaluation after it would take the place of a better one before."""

        def best_after(value: float, state: dict | None) -> BestCheckpointer:
            trainer = make_trainer([EvalHook(0, lambda: {"AP": value})])
            checkpointer = DetectionCheckpointer(trainer.model, str(tmp_path))
            hook = BestCheckpointer(0, checkpointer, "AP")
            trainer.register_hooks([hook])
            if state:
                hook.load_state_dict(state)
            trainer.train(0, 2)
            return hook

        first = best_after(5.0, None)
        assert first.state_dict() == {"metric": "AP", "value": 5.0, "iteration": 2}
        assert best_after(4.0, first.state_dict()).best_metric == 5.0

    def test_best_of_another_metric_is_forgotten(self, caplog):
        hook = BestCheckpointer(0, None, "segm/AP")
        hook.load_state_dict({"metric": "bbox/AP", "value": 9.0, "iteration": 1})
        assert hook.best_metric is None
        assert "'bbox/AP'" in caplog.text

    def test_metric_that_was_not_measured_is_named(self, caplog):
        trainer = make_trainer([EvalHook(0, lambda: {"bbox": {"AP": 1.0}})])
        trainer.register_hooks(
            [BestCheckpointer(0, DetectionCheckpointer(LineModel()), "bbox/AP5")]
        )
        trainer.train(0, 1)
        assert "'bbox/AP5'" in caplog.text
        assert "measured: bbox/AP" in caplog.text

    def test_unknown_mode_is_refused(self):
        with pytest.raises(ConfigError, match="'max' or 'min'"):
            BestCheckpointer(0, None, "AP", "most")


class NotingWriter(EventWriter):
    def __init__(self) -> None:
        self.calls = []

    def write(self) -> None:
        self.calls.append("write")

    def close(self) -> None:
        self.calls.append("close")


class TestPeriodicWriter:
    def test_writes_at_its_period_at_the_last_step_and_once_more_before_closing(self):
        writer = NotingWriter()
        make_trainer([PeriodicWriter([writer], period=2)]).train(0, 5)
        assert writer.calls == ["write"] * 4 + ["close"]

    def test_writers_are_made_when_training_begins(self):
        """A trainer that is only built must not open files."""
        made = []

        def make() -> list[EventWriter]:
            made.append(NotingWriter())
            return made

        hook = PeriodicWriter(make)
        assert made == []
        make_trainer([hook]).train(0, 1)
        assert made[0].calls[-1] == "close"

    def test_one_writer_on_a_full_disk_stops_neither_the_run_nor_the_others(self, caplog):
        class Full(NotingWriter):
            def write(self) -> None:
                raise OSError("no space left")

        other = NotingWriter()
        trainer = make_trainer([PeriodicWriter([Full(), other], period=1)])
        trainer.train(0, 3)
        assert other.calls[-1] == "close"
        assert caplog.text.count("Full cannot write (no space left). The run continues") == 1

    def test_what_cannot_write_is_refused(self):
        with pytest.raises(TypeError, match="is not an EventWriter"):
            PeriodicWriter([object()])


def test_timer_leaves_out_the_first_steps_and_logs_the_speed(caplog):
    trainer = make_trainer([IterationTimer(warmup_iter=2)])
    with caplog.at_level(logging.INFO):
        trainer.train(3, 8)
    assert [step for _, step in trainer.storage.history("time").values()] == [4, 5, 6, 7]
    assert "Speed: 3 iterations" in caplog.text


def test_timer_is_silent_when_nothing_was_timed(caplog):
    with caplog.at_level(logging.INFO):
        make_trainer([IterationTimer()]).train(0, 1)
    assert "Speed" not in caplog.text


def test_memory_figures_need_a_gpu(caplog):
    with caplog.at_level(logging.INFO):
        make_trainer([TorchMemoryStats(period=1)]).train(0, 2)
    assert ("GPU memory" in caplog.text) == torch.cuda.is_available()


@pytest.mark.parametrize("kind", [TorchProfiler, AutogradProfiler])
def test_profiler_writes_a_trace_of_the_chosen_steps(kind, tmp_path, caplog):
    hook = kind(lambda trainer: trainer.iter == 1, tmp_path)
    with caplog.at_level(logging.INFO):
        make_trainer([hook]).train(0, 3)
    (trace,) = tmp_path.rglob("*.json")
    assert "iter1" in trace.name
    assert json.loads(trace.read_text())["traceEvents"]
    assert "aten::" in caplog.text


class NormModel(LineModel):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(2, momentum=0.1)

    def forward(self, batch):
        return super().forward(
            [
                {**point, "x": x}
                for point, x in zip(
                    batch, self.norm(torch.stack([point["x"] for point in batch])), strict=True
                )
            ]
        )


class TestPreciseBN:
    def test_statistics_become_plain_averages_over_the_batches(self):
        model = NormModel()
        model.norm.running_mean.fill_(1e4)
        hook = PreciseBN(0, model, PointStream(), 4)
        make_trainer([hook], model).train(0, 3)
        # The last step is number 2: the average is over batches 2, 3, 4, 5.
        stream = PointStream()
        stream.seek(2)
        batches = [
            torch.stack([point["x"] for point in batch])
            for batch, _ in zip(stream, range(4), strict=False)
        ]
        mean = torch.stack([batch.mean(0) for batch in batches]).mean(0)
        var = torch.stack([batch.var(0) for batch in batches]).mean(0)
        torch.testing.assert_close(model.norm.running_mean, mean)
        torch.testing.assert_close(model.norm.running_var, var)
        assert model.norm.momentum == 0.1

    def test_counts_of_losses_stay_as_the_training_left_them(self):
        """Such as those of seesaw loss: hundreds of batches that nothing is learned from."""
        model = NormModel()
        model.register_buffer("count", torch.zeros(()))
        model.register_forward_hook(lambda module, *_: module.count.add_(1) * 0)
        batches = [batch for batch, _ in zip(PointStream(), range(4), strict=False)]
        PreciseBN(0, model, batches, 4).update_stats()
        assert model.count == 0

    def test_frozen_norm_is_left_alone(self, caplog):
        model = NormModel()
        model.norm.eval()
        before = model.norm.running_mean.clone()
        with caplog.at_level(logging.INFO):
            PreciseBN(0, model, PointStream(), 2).update_stats()
        assert torch.equal(model.norm.running_mean, before)
        assert "nothing to do" in caplog.text

    def test_model_in_evaluation_mode_is_refused(self):
        model = NormModel()
        hook = PreciseBN(0, model, PointStream(), 2)
        model.eval()
        with pytest.raises(RuntimeError, match="training mode"):
            hook.update_stats()

    def test_finite_loader_that_ends_early_is_named(self, caplog):
        model = NormModel()
        batches = [batch for batch, _ in zip(PointStream(), range(2), strict=False)]
        PreciseBN(0, model, batches, 5).update_stats()
        assert "ended after 2 batches" in caplog.text


class TestClassCheck:
    def test_equal_classes_pass(self):
        hook = ClassCheckHook(["a", "b"], 2, test_classes={"val": ["a", "b"]})
        trainer = make_trainer([hook])
        trainer.train(0, 1)
        assert trainer.iter == 1

    def test_more_classes_than_the_data_has_train_with_a_warning(self, caplog):
        trainer = make_trainer([ClassCheckHook(["a", "b"], 3, key="MODEL.X.NUM_CLASSES")])
        trainer.train(0, 1)
        assert trainer.iter == 1
        assert "MODEL.X.NUM_CLASSES=3 is more than the data has" in caplog.text

    def test_wrong_count_shows_both_lists_and_the_key(self):
        hook = ClassCheckHook(
            ["a", "b", "c"], 2, key="MODEL.X.NUM_CLASSES", loaded_classes=["p", "q"]
        )
        with pytest.raises(ConfigError) as caught:
            make_trainer([hook]).train(0, 1)
        message = str(caught.value)
        for part in ("MODEL.X.NUM_CLASSES=2", "p, q", "a, b, c", "Set MODEL.X.NUM_CLASSES 3"):
            assert part in message

    def test_same_names_in_another_order_are_told(self, caplog):
        hook = ClassCheckHook(["a", "b"], 2, loaded_classes=["b", "a"])
        make_trainer([hook]).train(0, 1)
        assert "same in another order" in caplog.text

    def test_stops_before_the_first_step(self):
        stepped = []
        hooks: list[HookBase] = [
            ClassCheckHook(["a", "b"], 1),
            CallbackHook(before_step=lambda _: stepped.append(1)),
        ]
        with pytest.raises(ConfigError, match="does not fit the training data"):
            make_trainer(hooks).train(0, 1)
        assert stepped == []
