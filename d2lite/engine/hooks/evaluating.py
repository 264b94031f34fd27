"""EvalHook: calls an evaluation function at a period and after training."""

from collections.abc import Callable, Mapping
from typing import Any

from d2lite.engine.trainer_base import HookBase
from d2lite.evaluation.testing import flatten_results_dict
from d2lite.utils import comm
from d2lite.utils.errors import InputTypeError, StateError

from .period import is_last_step, period_ends


class EvalHook(HookBase):
    """Runs an evaluation and puts its numbers into the storage.

    All processes call the function at the same steps.
    """

    runs_again = True

    def __init__(
        self,
        eval_period: int,
        eval_function: Callable[[], Mapping[str, Any] | None],
        eval_after_train: bool = True,
    ) -> None:
        """Make a hook.

        Args:
            eval_period: steps between two evaluations; 0 for none while training.
            eval_function: returns a (nested) dict of numbers, or nothing.
            eval_after_train: evaluate once more after the last step, unless an error ended the
                training.
        """
        self._period = eval_period
        self._func: Callable[[], Mapping[str, Any] | None] | None = eval_function
        self._eval_after_train = eval_after_train
        self._evaluated_steps: int | None = None

    def before_train(self) -> None:
        """Refuse a second training, before its steps are made for nothing."""
        if self._func is None:
            raise StateError(
                "This training is finished, and its EvalHook with it. Make a new trainer for the "
                "next one; resume_or_load(resume=True) continues with the weights of this one."
            )

    def after_step(self) -> None:
        """Evaluate when the period is over; the last step is left to `after_train`."""
        is_left_to_the_end = self._eval_after_train and is_last_step(self.trainer)
        if period_ends(self.trainer, self._period) and not is_left_to_the_end:
            self._do_eval()
            self._evaluated_steps = self.trainer.iter + 1

    def after_train(self) -> None:
        """Evaluate the finished model."""
        is_finished = self.trainer.iter >= self.trainer.max_iter
        # A run that was stopped early has just evaluated its last weights.
        if self._eval_after_train and is_finished and self._evaluated_steps != self.trainer.iter:
            self._do_eval()
        if is_finished:
            # The function usually holds the trainer, and this breaks the circle of references. A
            # run that was interrupted may go on: people press stop in a notebook, then train().
            self._func = None

    def _do_eval(self) -> None:
        assert self._func is not None
        results = self._func()
        if results:
            for name, value in _checked_numbers(results).items():
                self.trainer.storage.put_scalar(name, value, smoothing_hint=False)
        # The main process evaluates longest; without this the others would wait in a collective of
        # the next step, whose timeout is too short for an evaluation.
        comm.synchronize()


def _checked_numbers(results: Mapping[str, Any]) -> dict[str, float]:
    if not isinstance(results, Mapping):
        raise InputTypeError(
            f"The evaluation function returned {type(results).__name__}; EvalHook needs a dict "
            "of numbers, nested as deep as you like."
        )
    numbers = {}
    for name, value in flatten_results_dict(results).items():
        try:
            numbers[name] = float(value)
        except (TypeError, ValueError) as error:
            raise InputTypeError(
                f"The evaluation function returned {name} = {value!r}; EvalHook needs numbers."
            ) from error
    return numbers
