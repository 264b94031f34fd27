"""Placeholders for what an optional package would give: the error comes at use, not at import."""

from collections.abc import Callable
from typing import Any, NoReturn

__all__ = ["create_dummy_class", "create_dummy_func"]


class _Unusable(type):
    """The type of placeholder classes: neither they nor their attributes can be used."""

    reason: str

    def __getattr__(cls, name: str) -> NoReturn:
        raise ImportError(cls.reason)


def create_dummy_class(klass: str, dependency: str, message: str = "") -> type:
    """Make a class that cannot be used.

    Args:
        klass: its name.
        dependency: the package that is missing.
        message: added to the error.

    Returns:
        A class that raises ImportError when an object is made or an attribute is read.
    """
    reason = _reason(klass, dependency, message)
    return _Unusable(klass, (), {"reason": reason, "__init__": _refuse(reason)})


def create_dummy_func(
    func: str, dependency: str | list[str], message: str = ""
) -> Callable[..., Any]:
    """Make a function that raises ImportError when it is called.

    Args:
        func: its name.
        dependency: the packages that are missing.
        message: added to the error.
    """
    names = dependency if isinstance(dependency, str) else ", ".join(dependency)
    return _refuse(_reason(func, names, message))


def _reason(name: str, dependency: str, message: str) -> str:
    return f"{name} needs {dependency}, which cannot be imported. {message}".rstrip()


def _refuse(reason: str) -> Callable[..., Any]:
    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise ImportError(reason)

    return refuse
