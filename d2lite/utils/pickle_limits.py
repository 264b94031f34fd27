"""What is wrong with a pickle, and the limits of the values in it."""

import pickle
from collections.abc import Mapping
from typing import Any

_MAX_DEPTH = 100


class RefusedPickle(pickle.UnpicklingError):
    """It could harm whoever reads it; the text names what it holds."""


class DamagedPickle(pickle.UnpicklingError):
    """It is cut off, or not a pickle at all."""


def require_plain_key(key: Any) -> None:
    """Check that hashing a key is quick.

    Raises:
        RefusedPickle: if it is neither a text, a number, None, nor a tuple of such values.
    """
    for part in key if type(key) is tuple else (key,):
        if not isinstance(part, str | bytes | int | float | None):
            raise RefusedPickle(f"a key with a {type(part).__name__}")


def children_of(value: Any) -> Any:
    """The values inside a container; nothing for any other value."""
    if isinstance(value, Mapping):
        # What pickles attach to an OrderedDict counts too.
        return [*value.keys(), *value.values(), *getattr(value, "__dict__", {}).values()]
    return value if isinstance(value, list | tuple) else ()


def require_small(value: Any, limit: int) -> None:
    """Check that a walk through nested containers ends soon.

    Args:
        value: may contain itself.
        limit: the most values inside, each counted as often as it occurs.

    Raises:
        RefusedPickle: if there are more, or they are nested too deep.
    """
    seen: dict[int, tuple[int, int]] = {}

    def measure(value: Any, outer: int) -> tuple[int, int]:
        """The number of values inside, each counted as often as it occurs, and their depth."""
        children = children_of(value)
        if not children:
            return 1, 1
        size, depth = seen.get(id(value), (0, 1))
        if not size:
            seen[id(value)] = limit + 1, 1  # for those that contain themselves
            size = 1
            if outer < _MAX_DEPTH:
                for child in children:
                    inner, below = measure(child, outer + 1)
                    size, depth = size + inner, max(depth, below + 1)
            seen[id(value)] = size, depth
        if size > limit or outer + depth > _MAX_DEPTH:
            raise RefusedPickle("containers in containers far beyond its size")
        return size, depth

    measure(value, 1)
