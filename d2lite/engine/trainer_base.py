"""HookBase and TrainerBase: the loop of a training run and the hook points in it."""

import itertools
import logging
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from d2lite.utils.errors import InputTypeError
from d2lite.utils.events import EventStorage
from d2lite.utils.failure_log import log_failure

from .launching.stop_signals import StopConsensus

logger = logging.getLogger(__name__)

T = TypeVar("T")


class HookBase:
    """What can happen around the steps of a run; a subclass fills in the hook points it needs.

    The order of the hook points in a run of n steps:

        before_train
        n times: before_step, (the trainer's run_step, inside it) after_backward, after_step
        after_train, also when a step raised

    A hook reads the run through `self.trainer`, above all `trainer.iter` (0-based number of the
    current step), `trainer.max_iter` and `trainer.storage`. A hook with a state that has to
    survive a resume returns it from `state_dict` and takes it back in `load_state_dict`.

    A checkpoint is written while the hooks work after a step, so those after the one that writes
    it have not run yet. A hook for which this matters sets `runs_again = True`: if
    the run is killed then, the resumed one calls its `after_step` for that step before it goes
    on, so that no evaluation is lost. A run that is asked to stop leaves these hooks to the
    resumed one.

    Attributes:
        trainer: a weak proxy of the trainer, set by `TrainerBase.register_hooks`.
        runs_again: whether a resumed run makes up for an `after_step` that came after the save.
    """

    trainer: "TrainerBase" = None  # type: ignore[assignment]
    runs_again: bool = False

    def before_train(self) -> None:
        """Run before the first step."""

    def after_train(self) -> None:
        """Run after the last step, or after the step that raised."""

    def before_step(self) -> None:
        """Run before each step."""

    def after_backward(self) -> None:
        """Run when a step's gradients are complete and the weights are not yet updated."""

    def after_step(self) -> None:
        """Run after each step."""

    def state_dict(self) -> dict[str, Any]:
        """Return what must survive a resume: tensors and plain values only."""
        return {}


class _View(Generic[T]):
    """Like a property, except that people's subclasses may assign an attribute of this name."""

    def __init__(self, read: Callable[[Any], T]) -> None:
        self._read = read

    def __get__(self, trainer: Any, owner: type | None = None) -> T:
        return self._read(trainer)


class TrainerBase:
    """The loop: from `start_iter` to `max_iter`, one `run_step` each, with hooks around it.

    It knows nothing of models, data or optimizers.

    Attributes:
        hooks: the registered hooks, in the order in which they run.
        step: the trainer that makes the steps: this one, or the inner one of a `DefaultTrainer`.
        iter: 0-based number of the current step; equal to `max_iter` when all steps are made.
        start_iter: number of the first step of this process's run.
        max_iter: number of steps of the whole run, those before a resume included. A hook may
            lower it to the number of steps made: the run is complete then, as if it had been
            meant to be so short.
        storage: the EventStorage that is open while training.
        is_stopping: whether all processes know that the run stops after the current step.
        stop_signal: what `request_stop` was given, here or in another process; 0 if nothing.
    """

    hooks: "_View[list[HookBase]]" = _View(lambda trainer: trainer._hooks)
    step: "_View[TrainerBase]" = _View(lambda trainer: getattr(trainer, "_trainer", trainer))

    def __init__(self) -> None:
        self._hooks: list[HookBase] = []
        self.iter: int = 0
        self.start_iter: int = 0
        self.max_iter: int = 0
        self.storage: EventStorage
        self.is_stopping = False
        self.stop_signal = 0
        self._has_failed = False
        self._stop_consensus = StopConsensus()
        self._hook_at_work: HookBase | None = None
        self._hooks_left: list[str] = []
        self._loaded_iter = -1
        self._loaded_scalars: dict[str, Any] = {}

    def register_hooks(self, hooks: Iterable[HookBase | None]) -> None:
        """Append hooks; they run in the order in which they were registered.

        Args:
            hooks: the hooks; None entries (as `hook if wanted else None` gives) are left out.

        Raises:
            InputTypeError: for anything else.
        """
        for hook in hooks:
            if hook is None:
                continue
            if not isinstance(hook, HookBase):
                raise InputTypeError(f"A hook is a HookBase, found {type(hook).__name__}.")
            # A strong reference would make a circle that keeps a finished trainer's GPU memory.
            hook.trainer = weakref.proxy(self)
            self._hooks.append(hook)

    def train(self, start_iter: int, max_iter: int) -> None:
        """Run the steps `start_iter`, ..., `max_iter - 1`.

        Args:
            start_iter: number of the first step, 0 for a new run.
            max_iter: number of the last step, plus one.
        """
        logger.info(f"Training from iteration {start_iter} to {max_iter}")
        self.iter = self.start_iter = start_iter
        self.max_iter = max_iter
        self.is_stopping = self._has_failed = False
        with EventStorage(start_iter) as self.storage:
            self.storage.load_state_dict(self._loaded_scalars)
            self._loaded_scalars = {}
            try:
                self.before_train()
                self._finish_loaded_step()
                self._make_steps(start_iter)
            except BaseException as error:
                log_failure(error, f"Training stopped at iteration {self.iter}")
                self._after_failed_train(error)
                raise
            self.after_train()

    def _make_steps(self, start_iter: int) -> None:
        for self.iter in itertools.count(start_iter):
            if self.iter >= self.max_iter:
                break
            self.before_step()
            self.run_step()
            self.after_step()
            if self.is_stopping:
                return
        # Past the last step, so that hooks can tell a finished run from a broken one.
        self.iter = max(start_iter, self.max_iter)
        self._stop_consensus.result()

    def request_stop(self, reason: int = 1) -> None:
        """Ask the run to stop after the current step, to be resumed later.

        Several processes stop together, one step after the first of them was asked.

        Args:
            reason: a positive number; that of the signal where one was the reason.
        """
        self.stop_signal = reason

    def _after_failed_train(self, cause: BaseException) -> None:
        """Let every hook close its files; what they raise must not hide `cause`."""
        self._has_failed = True
        if self._hook_at_work is not None and self._hook_at_work.runs_again:
            # A resume makes up for this hook; until then the scalars of the step are not complete.
            self.is_stopping = True
        try:
            self.after_train()
        except Exception as error:
            # Broad on purpose: whatever a hook raises now is a consequence, not the cause.
            log_failure(error, f"While closing the run after {type(cause).__name__}")

    def before_train(self) -> None:
        """Call `before_train` of every hook."""
        for hook in self._hooks:
            hook.before_train()

    def after_train(self) -> None:
        """Call `after_train` of every hook, also after one that raises."""
        if self.iter + 1 == self.max_iter and not (self.is_stopping or self._has_failed):
            # Loops that people write end with the number of the last step.
            self.iter = self.max_iter
        self.storage.iter = self.iter
        self._hook_at_work = None
        first_error: Exception | None = None
        for hook in self._hooks:
            try:
                hook.after_train()
            except Exception as error:
                # Raised once the writers after this hook have been closed.
                if first_error is None:
                    first_error = error
                else:
                    log_failure(error, f"{type(hook).__name__}.after_train failed")
        if first_error is not None:
            raise first_error

    def before_step(self) -> None:
        """Call `before_step` of every hook."""
        # Scalars that hooks and the step write now belong to this iteration.
        self.storage.iter = self.iter
        for hook in self._hooks:
            hook.before_step()

    def after_backward(self) -> None:
        """Call `after_backward` of every hook; `run_step` calls this."""
        for hook in self._hooks:
            hook.after_backward()

    def after_step(self) -> None:
        """Call `after_step` of every hook; a run that stops leaves some to its resume."""
        decided = self._stop_consensus.submit(self.stop_signal)
        self.is_stopping = decided > 0
        self.stop_signal = max(self.stop_signal, decided)
        for hook in self._hooks:
            if self.is_stopping and hook.runs_again:
                continue
            self._hook_at_work = hook
            hook.after_step()
        self._hook_at_work = None

    def _finish_loaded_step(self) -> None:
        """Call `after_step` of the hooks whose turn came after the save."""
        left, self._hooks_left = self._hooks_left, []
        if not left or self.iter != self._loaded_iter + 1:
            return
        self.iter = self.storage.iter = self._loaded_iter
        for key, hook in self._named_hooks():
            if key in left:
                self._hook_at_work = hook
                hook.after_step()
        self._hook_at_work = None
        self.iter = self._loaded_iter + 1

    def run_step(self) -> None:
        """Make one step; a subclass says how."""
        raise NotImplementedError(f"{type(self).__name__} must define run_step()")

    def state_dict(self) -> dict[str, Any]:
        """Return the iteration, the newest scalars, and the states of the hooks.

        Hooks are keyed by their class names.
        """
        # `iter` is one further when hooks save after the last step.
        last = min(self.iter, self.max_iter - 1) if self.max_iter > 0 else self.iter
        state: dict[str, Any] = {"iteration": last}
        if hooks_left := self._find_hooks_left():
            state["hooks_left"] = hooks_left
        if hasattr(self, "storage"):
            state["scalars"] = self.storage.state_dict()
        hook_states = {key: hook.state_dict() for key, hook in self._named_hooks()}
        hook_states = {key: hook_state for key, hook_state in hook_states.items() if hook_state}
        if hook_states:
            state["hooks"] = hook_states
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` returned.

        Args:
            state_dict: a state of this class; a hook's state without its hook is named in the log.
        """
        self.iter = state_dict["iteration"]
        self._hooks_left = list(state_dict.get("hooks_left", ()))
        self._loaded_iter = self.iter
        self._loaded_scalars = dict(state_dict.get("scalars", {}))
        # Now, so that scalars of other types are reported as a fault of the checkpoint.
        EventStorage().load_state_dict(self._loaded_scalars)
        hooks = dict(self._named_hooks())
        for key, hook_state in state_dict.get("hooks", {}).items():
            load = getattr(hooks.get(key), "load_state_dict", None)
            if load is None:
                logger.warning(
                    f"The checkpoint holds a state of the hook {key!r}; no hook takes it"
                )
                continue
            load(hook_state)

    def _find_hooks_left(self) -> list[str]:
        """The keys of the hooks that `after_step` has still to call, as far as they run again."""
        if self._hook_at_work is None:
            return []
        keys = list(self._named_hooks())
        place = next(i for i, (_, hook) in enumerate(keys) if hook is self._hook_at_work)
        return [key for key, hook in keys[place + 1 :] if hook.runs_again]

    def _named_hooks(self) -> Iterator[tuple[str, HookBase]]:
        """Give each hook a key: its class's name, numbered from the second of a class on."""
        seen: dict[str, int] = {}
        for hook in self._hooks:
            name = type(hook).__qualname__
            seen[name] = seen.get(name, 0) + 1
            yield (name if seen[name] == 1 else f"{name}#{seen[name]}"), hook
