import gc
import logging
import weakref

import pytest

from d2lite.engine import HookBase, TrainerBase
from d2lite.engine.hooks import EvalHook
from d2lite.utils.events import EventStorage


class CountingTrainer(TrainerBase):
    def __init__(self, fail_at: int | None = None) -> None:
        super().__init__()
        self.fail_at = fail_at
        self.calls: list[str] = []

    def run_step(self) -> None:
        self.calls.append(f"step {self.iter}")
        if self.iter == self.fail_at:
            raise RuntimeError("the step broke")
        self.after_backward()


class NotingHook(HookBase):
    def __init__(self, calls: list[str]) -> None:
        self.calls = calls

    def before_train(self) -> None:
        self.calls.append("before_train")

    def before_step(self) -> None:
        self.calls.append("before_step")

    def after_backward(self) -> None:
        self.calls.append("after_backward")

    def after_step(self) -> None:
        self.calls.append("after_step")

    def after_train(self) -> None:
        self.calls.append(f"after_train {self.trainer.iter}")


class CounterHook(HookBase):
    def __init__(self) -> None:
        self.count = 0

    def after_step(self) -> None:
        self.count += 1

    def state_dict(self) -> dict:
        return {"count": self.count}

    def load_state_dict(self, state_dict: dict) -> None:
        self.count = state_dict["count"]


def test_doors_open_in_their_order():
    trainer = CountingTrainer()
    trainer.register_hooks([NotingHook(trainer.calls), None])
    trainer.train(5, 7)
    around_step = ["before_step", "step 5", "after_backward", "after_step"]
    expected = ["before_train", *around_step]
    expected += [call.replace("5", "6") for call in around_step] + ["after_train 7"]
    assert trainer.calls == expected


def test_after_train_runs_when_a_step_raises():
    trainer = CountingTrainer(fail_at=1)
    trainer.register_hooks([NotingHook(trainer.calls)])
    with pytest.raises(RuntimeError, match="the step broke"):
        trainer.train(0, 4)
    # The iteration stays below max_iter: hooks see that the run is not finished.
    assert trainer.calls[-1] == "after_train 1"


def test_hook_that_fails_at_the_end_neither_hides_the_cause_nor_keeps_others_shut():
    """Writers are closed last; they must be closed although another hook failed."""

    class FailingHook(HookBase):
        def after_train(self) -> None:
            raise ValueError("could not tidy up")

    broken = CountingTrainer(fail_at=0)
    broken.register_hooks([FailingHook(), NotingHook(broken.calls)])
    with pytest.raises(RuntimeError, match="the step broke"):
        broken.train(0, 1)
    assert broken.calls[-1] == "after_train 0"

    finished = CountingTrainer()
    finished.register_hooks([FailingHook(), NotingHook(finished.calls)])
    with pytest.raises(ValueError, match="could not tidy up"):
        finished.train(0, 1)
    assert finished.calls[-1] == "after_train 1"


def test_storage_counts_along_with_the_trainer():
    trainer = CountingTrainer()
    seen = []
    hook = HookBase()
    hook.after_step = lambda: seen.append(hook.trainer.storage.iter)
    trainer.register_hooks([hook])
    trainer.train(3, 6)
    assert seen == [3, 4, 5]


def test_states_of_hooks_travel_by_class_name_also_two_of_a_class():
    trainer = CountingTrainer()
    trainer.register_hooks([CounterHook(), HookBase(), CounterHook()])
    trainer.train(0, 3)
    trainer._hooks[2].count = 70
    state = trainer.state_dict()
    assert state["hooks"] == {"CounterHook": {"count": 3}, "CounterHook#2": {"count": 70}}

    other = CountingTrainer()
    other.register_hooks([CounterHook(), CounterHook()])
    other.load_state_dict(state)
    assert [hook.count for hook in other._hooks] == [3, 70]
    # Of the last step that was made; the trainer itself counts on after it.
    assert (other.iter, trainer.iter) == (2, 3)


def test_state_that_no_hook_takes_is_named(caplog):
    with caplog.at_level(logging.WARNING):
        CountingTrainer().load_state_dict({"iteration": 4, "hooks": {"Gone": {"a": 1}}})
    assert "'Gone'" in caplog.text


def test_trainer_is_freed_although_hooks_know_it():
    """A circle would keep the model of a finished run on the GPU until the collector comes."""
    trainer = CountingTrainer()
    hook = HookBase()
    trainer.register_hooks([hook])
    trainer.train(0, 1)
    gone = weakref.ref(trainer)
    gc.disable()
    try:
        del trainer
        assert gone() is None
    finally:
        gc.enable()


def test_run_step_has_to_be_defined():
    with pytest.raises(NotImplementedError, match="TrainerBase must define run_step"):
        TrainerBase().train(0, 1)


class OwnLoop(CountingTrainer):
    """As AdelaiDet's trainer and many others write it: the last number stays that of a step."""

    def train(self, start_iter: int, max_iter: int) -> None:
        self.start_iter, self.max_iter = start_iter, max_iter
        with EventStorage(start_iter) as self.storage:
            self.before_train()
            for self.iter in range(start_iter, max_iter):
                self.before_step()
                self.run_step()
                self.after_step()
            self.after_train()


def test_loop_of_ones_own_ends_with_the_evaluation_of_the_last_weights():
    evaluated = []
    trainer = OwnLoop()
    trainer.register_hooks([EvalHook(0, lambda: evaluated.append(trainer.iter))])
    trainer.train(0, 3)
    assert evaluated == [3]


def test_nothing_is_evaluated_after_an_error_in_the_last_step():
    evaluated = []
    trainer = CountingTrainer(fail_at=2)
    trainer.register_hooks([EvalHook(0, lambda: evaluated.append(trainer.iter))])
    with pytest.raises(RuntimeError, match="the step broke"):
        trainer.train(0, 3)
    assert evaluated == []


def test_evaluation_that_a_subclass_of_the_hook_makes_takes_its_place():
    """Hooks of clients override detectron2's `_do_eval` and call the function by `_func`."""
    made = []

    class Noting(EvalHook):
        def _do_eval(self) -> None:
            made.append((self.trainer.iter, self._func()))

    trainer = CountingTrainer()
    trainer.register_hooks([Noting(2, lambda: "score")])
    trainer.train(0, 3)
    assert made == [(1, "score"), (3, "score")]
