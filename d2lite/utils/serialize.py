"""Pickling functions that have no importable name, such as lambdas."""

import pickle
from functools import partial
from typing import Any

import cloudpickle

__all__ = ["PicklableWrapper", "picklable"]


class PicklableWrapper:
    """A callable that pickles by its code; calls and attributes go to the wrapped one."""

    def __init__(self, obj: Any) -> None:
        """Wrap an object.

        Args:
            obj: a callable; another wrapper is not wrapped twice.
        """
        self._obj: Any = obj._obj if isinstance(obj, PicklableWrapper) else obj

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (cloudpickle.dumps(self._obj),)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the wrapped object."""
        return self._obj(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        # Reached for names that the wrapper does not have; without _obj it is not complete yet.
        if name == "_obj":
            raise AttributeError(name)
        return getattr(self._obj, name)


def _unpickle(content: bytes) -> PicklableWrapper:
    return PicklableWrapper(pickle.loads(content))


def picklable(function: Any) -> Any:
    """A function as it is if pickle can name it, else in a `PicklableWrapper`.

    Other objects are left alone: torch shares the tensors in them between processes, which it
    cannot do for what is inside of the wrapper.
    """
    inner = function
    while isinstance(inner, partial):
        inner = inner.func
    name = getattr(inner, "__qualname__", type(inner).__qualname__)
    # "<lambda>", or "outer.<locals>.inner".
    return PicklableWrapper(function) if "<" in name else function
