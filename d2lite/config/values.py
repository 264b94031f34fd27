"""Values of configuration keys: reading them from text, and fitting them to the type of a key."""

import ast
import os
from typing import Any

_SCALARS = (str, int, float, bool, type(None))


class MisfitError(ValueError):
    """A value that does not fit its key; the text says what was expected."""


def is_plain(value: Any) -> bool:
    """Whether a key may have this value: a scalar, or lists and tuples of scalars and dicts."""
    if isinstance(value, list | tuple):
        return all(is_plain(item) or _is_plain_dict(item) for item in value)
    return type(value) in _SCALARS


def _is_plain_dict(value: Any) -> bool:
    return type(value) is dict and all(
        isinstance(key, str) and (is_plain(item) or _is_plain_dict(item))
        for key, item in value.items()
    )


def read_literal(text: str) -> Any:
    """The Python literal that `text` spells, or `text` itself if it is not a literal."""
    try:
        # Names of files that are not UTF-8 reach Python with surrogates, which its parser refuses.
        value = ast.literal_eval(text.strip().encode(errors="backslashreplace").decode())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    return value if is_plain(value) or isinstance(value, dict) else text


def fit_value(value: Any, current: Any, *, nullable: bool, unquote: bool) -> Any:
    """Turn `value` into the type of the key that holds `current`, where nothing is lost by it.

    Args:
        value: what a file or option gives.
        current: what the key holds now; its type is the key's type.
        nullable: whether the key has held None; it then takes None and every plain value.
        unquote: whether a text in quotes is meant without them, as on the command line.

    Returns:
        The value to store.

    Raises:
        MisfitError: if the types differ; the text says what is expected instead.
    """
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(current, str) and isinstance(value, str | None):
        # A folder named 2024 is a text, though it reads as a number.
        literal = read_literal(value) if value and unquote else value
        if literal is None:
            # yacs lets every key become None; of a text, such as MODEL.WEIGHTS, it means none.
            return None if nullable else ""
        return literal if isinstance(literal, str) else value
    if isinstance(value, str):
        is_truth = isinstance(current, bool) and value.strip().lower() in ("true", "false")
        value = value.strip().lower() == "true" if is_truth else read_literal(value)
    if not is_plain(value):
        raise MisfitError("a value" if current is None else f"{_a(type(current))}, plain")
    if nullable:
        return value
    return _fit_type(value, current)


def _fit_type(value: Any, current: Any) -> Any:
    kind = type(current)
    if isinstance(current, list | tuple):
        if not isinstance(value, list | tuple):
            raise MisfitError(f"{_a(kind)}, for instance {kind([value])!r}")
        return _shape_like(value, current)
    if type(value) is kind:
        return value
    if kind is float and type(value) is int:
        return float(value)
    if kind is int and type(value) is float and value.is_integer():
        return int(value)
    raise MisfitError(_a(kind))


def _shape_like(value: Any, like: Any) -> Any:
    """Rebuild nested sequences with the kinds (list, tuple) that `like` has at each depth.

    YAML knows no tuples, so this is what makes a dumped config load back to an equal one.
    """
    if not isinstance(value, list | tuple):
        return value
    item_like = like[0] if isinstance(like, list | tuple) and len(like) else []
    kind = tuple if isinstance(like, tuple) else list
    return kind(_shape_like(item, item_like) for item in value)


def _a(kind: type) -> str:
    names = {str: "a text", int: "an integer", float: "a number", bool: "True or False"}
    return names.get(kind, f"a {kind.__name__}")


def describe(value: Any) -> str:
    """A value with its type, for messages: `'abc' (str)`."""
    shown = repr(value)
    if len(shown) > 80:
        shown = shown[:77] + "..."
    return f"{shown} ({type(value).__name__})"
