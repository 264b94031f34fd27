"""Registry: from a name to the object registered under it."""

import difflib
import importlib
import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

from fvcore.common.registry import Registry as _BaseRegistry

from .errors import TakenNameError, UnknownImportError, UnknownNameError

__all__ = ["Registry", "address_of", "locate"]

T = TypeVar("T")

_logger = logging.getLogger(__name__)


class Registry(_BaseRegistry):  # type: ignore[misc]  # fvcore ships no types
    """fvcore's registry; a miss says which names there are and how to add one's own.

    A user's object takes the place of one of d2lite under the same name, whichever comes first:
    code for detectron2 may use any name that detectron2 leaves free.

    Args:
        name: what the registry holds, for instance "BACKBONE".
        reserved: names of d2lite's objects that cannot be replaced; those of detectron2.
    """

    def __init__(self, name: str, reserved: Sequence[str] = ()) -> None:
        super().__init__(name)
        self._reserved = frozenset(reserved)

    def get(self, name: str) -> Any:
        """The object registered under `name`.

        Raises:
            UnknownNameError: if there is none.
        """
        if name in self._obj_map:
            return self._obj_map[name]
        raise UnknownNameError(_miss_text(self._name, name, list(self._obj_map)))

    @overload
    def register(self, obj: None = None) -> Callable[[T], T]: ...

    @overload
    def register(self, obj: T) -> T: ...

    def register(self, obj: Any = None) -> Any:
        """Register `obj` under its own name; without `obj`, a decorator that does so.

        Raises:
            TakenNameError: if the name is taken by another object and is reserved, or if both are
                users' objects or both are d2lite's.
        """
        if obj is not None:
            return self._add(obj)
        decorator: Callable[[Any], Any] = self._add
        return decorator

    def _add(self, obj: Any) -> Any:
        name = obj.__name__
        holder = self._obj_map.setdefault(name, obj)
        if holder is obj:
            return obj
        if name in self._reserved or _is_own(holder) == _is_own(obj):
            raise TakenNameError(
                f"{self._name} has {name!r} already, from {holder.__module__}; "
                f"give the one in {obj.__module__} another name."
            )
        mine, own = (holder, obj) if _is_own(obj) else (obj, holder)
        self._obj_map[name] = mine
        _logger.info(
            "%s: %r is the one of %s, not the one of %s.",
            self._name,
            name,
            mine.__module__,
            own.__module__,
        )
        return obj


def _is_own(obj: Any) -> bool:
    """Whether d2lite or one of its projects has defined an object."""
    return str(obj.__module__).split(".")[0] == __name__.split(".")[0]


def _miss_text(registry: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=5, cutoff=0.5)
    ordered = near + sorted(set(known) - set(near))
    found = ", ".join(ordered) if ordered else "none yet"
    return (
        f"{registry} has nothing named {name!r}. Known: {found}.\n"
        f"To add your own, put @{registry.removesuffix('_REGISTRY')}_REGISTRY.register() above "
        f"the class or function {name!r} and have its file imported, for instance with: "
        "d2lite train --import FILE ..."
    )


def locate(name: str) -> Any:
    """Import the object with the dotted address `name`, for instance "torch.nn.Linear".

    Raises:
        UnknownImportError: if no part of the address can be imported or an attribute is missing.
    """
    parts = name.split(".")
    for depth in range(len(parts), 0, -1):
        module_name = ".".join(parts[:depth])
        try:
            found: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as err:
            # A module that exists but lacks one of its own imports must not pass for absent.
            if err.name is None or not f"{module_name}.".startswith(f"{err.name}."):
                raise
            continue
        for attribute in parts[depth:]:
            if not hasattr(found, attribute):
                raise UnknownImportError(f"{name!r}: {module_name} has no {attribute!r}.")
            found = getattr(found, attribute)
        return found
    raise UnknownImportError(f"{name!r} is not a module or object that can be imported.")


def address_of(value: Any) -> str | None:
    """The shortest dotted address from which `locate` gets this class or function, if any."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not module or not name:
        return None
    parts = module.split(".")
    for length in range(1, len(parts) + 1):
        address = ".".join([*parts[:length], name])
        try:
            # Equal but not identical: a method is another object at each access.
            if locate(address) == value:
                return address
        except (UnknownNameError, ImportError):
            continue
    return None


def _convert_target_to_string(t: Any) -> str:
    """As `address_of`; where there is none, the module and the name."""
    return address_of(t) or f"{t.__module__}.{t.__qualname__}"
