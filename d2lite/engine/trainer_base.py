"""HookBase and TrainerBase: the loop of a training run and the doors that hooks open in it."""

import logging
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

from d2lite.utils.events import EventStorage

from .failure_log import log_failure

__all__ = ["HookBase", "TrainerBase"]

logger = logging.getLogger(__name__)


class HookBase:
    """What can happen around the steps of a run; a subclass fills in the doors it needs.

    The order of the doors in a run of n steps:

        before_train
        n times: before_step, (the trainer's run_step, inside it) after_backward, after_step
        after_train, also when a step raised

    A hook reads the run through `self.trainer`, above all `trainer.iter` (0-based number of the
    current step), `trainer.max_iter` and `trainer.storage`. A hook with a state that has to
    survive a resume returns it from `state_dict` and takes it back in `load_state_dict`.

    Attributes:
        trainer: a weak proxy of the trainer, set by `TrainerBase.register_hooks`.
    """

    trainer: "TrainerBase" = None  # type: ignore[assignment]

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


class TrainerBase:
    """The loop: from `start_iter` to `max_iter`, one `run_step` each, with hooks around it.

    It knows nothing of models, data or optimizers.

    Attributes:
        iter: 0-based number of the current step; equal to `max_iter` when all steps are made.
        start_iter: number of the first step of this process's run.
        max_iter: number of steps of the whole run, those before a resume included.
        storage: the EventStorage that is open while training.
    """

    def __init__(self) -> None:
        self._hooks: list[HookBase] = []
        self.iter: int = 0
        self.start_iter: int = 0
        self.max_iter: int = 0
        self.storage: EventStorage

    def register_hooks(self, hooks: Iterable[HookBase | None]) -> None:
        """Append hooks; they run in the order in which they were registered.

        Args:
            hooks: the hooks; None entries (as `hook if wanted else None` gives) are left out.
        """
        for hook in hooks:
            if hook is None:
                continue
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
        with EventStorage(start_iter) as self.storage:
            try:
                self.before_train()
                for self.iter in range(start_iter, max_iter):
                    self.before_step()
                    self.run_step()
                    self.after_step()
                # Past the last step, so that hooks can tell a finished run from a broken one.
                self.iter = max(start_iter, max_iter)
            except BaseException as error:
                log_failure(error, f"Training stopped at iteration {self.iter}")
                self._after_failed_train(error)
                raise
            self.after_train()

    def _after_failed_train(self, cause: BaseException) -> None:
        """Let every hook close its files; what they raise must not hide `cause`."""
        try:
            self.after_train()
        except Exception as error:
            # Broad on purpose: whatever a hook raises now is a consequence, not the cause.
            log_failure(error, f"While closing the run after {type(cause).__name__}")

    def before_train(self) -> None:
        """Open the door `before_train` of every hook."""
        for hook in self._hooks:
            hook.before_train()

    def after_train(self) -> None:
        """Open the door `after_train` of every hook; one that raises doesn't keep others shut."""
        self.storage.iter = self.iter
        first_error: Exception | None = None
        for hook in self._hooks:
            try:
                hook.after_train()
            except Exception as error:
                # Held back until the writers behind this hook have been closed.
                if first_error is None:
                    first_error = error
                else:
                    log_failure(error, f"{type(hook).__name__}.after_train failed")
        if first_error is not None:
            raise first_error

    def before_step(self) -> None:
        """Open the door `before_step` of every hook."""
        # Scalars that hooks and the step write now belong to this iteration.
        self.storage.iter = self.iter
        for hook in self._hooks:
            hook.before_step()

    def after_backward(self) -> None:
        """Open the door `after_backward` of every hook; `run_step` calls this."""
        for hook in self._hooks:
            hook.after_backward()

    def after_step(self) -> None:
        """Open the door `after_step` of every hook."""
        for hook in self._hooks:
            hook.after_step()

    def run_step(self) -> None:
        """Make one step; a subclass says how."""
        raise NotImplementedError(f"{type(self).__name__} must define run_step()")

    def state_dict(self) -> dict[str, Any]:
        """Return the iteration and the states of the hooks, keyed by their class names."""
        state: dict[str, Any] = {"iteration": self.iter}
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
        hooks = dict(self._named_hooks())
        for key, hook_state in state_dict.get("hooks", {}).items():
            load = getattr(hooks.get(key), "load_state_dict", None)
            if load is None:
                logger.warning(
                    f"The checkpoint holds a state of the hook {key!r}; no hook takes it"
                )
                continue
            load(hook_state)

    def _named_hooks(self) -> Iterator[tuple[str, HookBase]]:
        """Give each hook a key: its class's name, numbered from the second of a class on."""
        seen: dict[str, int] = {}
        for hook in self._hooks:
            name = type(hook).__qualname__
            seen[name] = seen.get(name, 0) + 1
            yield (name if seen[name] == 1 else f"{name}#{seen[name]}"), hook
