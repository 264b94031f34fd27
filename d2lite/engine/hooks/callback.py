"""CallbackHook: a hook made of functions."""

from collections.abc import Callable
from typing import Any

from d2lite.engine.trainer_base import HookBase

Callback = Callable[[Any], Any]


class CallbackHook(HookBase):
    """Calls a function of the trainer at each hook point that one was given for."""

    def __init__(
        self,
        *,
        before_train: Callback | None = None,
        after_train: Callback | None = None,
        before_step: Callback | None = None,
        after_step: Callback | None = None,
        after_backward: Callback | None = None,
    ) -> None:
        """Make a hook; each function gets the trainer as its one argument."""
        self._callbacks = {
            "before_train": before_train,
            "before_step": before_step,
            "after_backward": after_backward,
            "after_step": after_step,
            "after_train": after_train,
        }

    def _call(self, point: str) -> None:
        callback = self._callbacks[point]
        if callback is not None:
            callback(self.trainer)

    def before_train(self) -> None:
        """Call the function given for this hook point."""
        self._call("before_train")

    def before_step(self) -> None:
        """Call the function given for this hook point."""
        self._call("before_step")

    def after_backward(self) -> None:
        """Call the function given for this hook point."""
        self._call("after_backward")

    def after_step(self) -> None:
        """Call the function given for this hook point."""
        self._call("after_step")

    def after_train(self) -> None:
        """Call the function given for this hook point."""
        self._call("after_train")
