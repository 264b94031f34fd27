"""check_run_state: a checkpoint has the parts and types that a resumed run needs."""

from collections.abc import Mapping, Sequence
from numbers import Number
from typing import Any

from torch import Tensor

from d2lite.utils.errors import WeightsError


def check_run_state(path: str, content: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Compare the state in a file with the state that the new run has before its first step.

    Args:
        path: of the file, for the message.
        content: of the file.
        own: the states of the run's checkpointables, by the keys of the file.

    Raises:
        WeightsError: if a part is missing or is of another type.
    """
    trainer = content.get("trainer")
    iteration = trainer.get("iteration") if isinstance(trainer, Mapping) else None
    if not isinstance(trainer, Mapping):
        reason = "it has no state of a trainer"
    elif type(iteration) is not int or iteration < 0:
        reason = f"trainer.iteration is {_shown(iteration)}, expected a number of 0 or more"
    else:
        reason = _misfit(own, content, "")
    if reason:
        raise WeightsError(
            f"{path} cannot be resumed: {reason}. Resume from another checkpoint (--resume FILE), "
            "or start a new run from its weights: leave --resume out and set MODEL.WEIGHTS."
        )


def _misfit(own: Any, stored: Any, name: str) -> str:
    """What differs in type between two states, the first of it; "" if nothing does."""
    if own is None or stored is None:
        return ""
    if isinstance(own, Mapping):
        if not isinstance(stored, Mapping):
            return f"{name} is {_shown(stored)}, expected a dict"
        parts = (
            (f"{name}.{key}".lstrip("."), own[key], stored[key]) for key in own if key in stored
        )
    elif isinstance(own, str):
        return "" if isinstance(stored, str) else f"{name} is {_shown(stored)}, expected a text"
    elif isinstance(own, Sequence):
        if not isinstance(stored, Sequence) or isinstance(stored, str):
            return f"{name} is {_shown(stored)}, expected a list"
        pairs = zip(own, stored, strict=False)
        parts = ((f"{name}[{place}]", *pair) for place, pair in enumerate(pairs))
    elif isinstance(own, Tensor) and isinstance(stored, Tensor):
        if own.shape == stored.shape:
            return ""
        return f"{name} has shape {tuple(stored.shape)}, expected {tuple(own.shape)}"
    elif isinstance(own, Number | Tensor):
        is_number = isinstance(stored, Number) or (
            isinstance(stored, Tensor) and stored.numel() == 1
        )
        return "" if is_number else f"{name} is {_shown(stored)}, expected a number"
    else:
        return ""
    return next((text for part, a, b in parts if (text := _misfit(a, b, part))), "")


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{text[:60]} ({type(value).__name__})" if len(text) < 200 else type(value).__name__
