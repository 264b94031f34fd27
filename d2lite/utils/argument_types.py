"""check_types: arguments have the types that the annotations of a function name."""

import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from .errors import InputTypeError

__all__ = ["check_types"]

# Annotation -> what is accepted for it, numbers of numpy too, and its name in messages.
_KINDS: dict[Any, tuple[Any, str]] = {
    Callable: (Callable, "a function"),
    Iterable: (Iterable, "a list"),
    Mapping: (Mapping, "a dict"),
    NoneType: (NoneType, "None"),
    Path: (os.PathLike, "a path"),
    Sequence: (Sequence, "a list"),
    bool: (Integral, "True or False"),
    float: (Real, "a number"),
    int: (Integral, "a whole number"),
    str: (str, "a text"),
}


def check_types(function: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Refuse arguments of other types than the annotations name; items of lists are not checked.

    Args:
        function: that is called.
        given: name -> value, as `locals()` where the function begins; further names are left out.

    Raises:
        InputTypeError: with what was found and expected.
    """
    for name, kinds in _kinds_of(function).items():
        value = given.get(name)
        if name not in given or any(_is_of(value, kind) for kind in kinds):
            continue
        called = function.__qualname__.removesuffix(".__init__").removesuffix(".__call__")
        raise InputTypeError(
            f"{called}(): {name} is {repr(value)[:80]} ({type(value).__name__}), expected "
            f"{' or '.join(_KINDS[kind][1] for kind in kinds)}."
        )


@functools.cache
def _kinds_of(function: Callable[..., Any]) -> dict[str, list[Any]]:
    """Argument -> the types that it may have, where they are checked."""
    found = {}
    for name, hint in get_type_hints(function).items():
        parts = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        kinds = [get_origin(part) or part for part in parts]
        if name != "return" and all(kind in _KINDS for kind in kinds):
            found[name] = kinds
    return found


def _is_of(value: Any, kind: Any) -> bool:
    # A text is a sequence of letters, which nobody means.
    is_list = kind not in (Sequence, Iterable) or not isinstance(value, str | bytes)
    return is_list and isinstance(value, _KINDS[kind][0])
