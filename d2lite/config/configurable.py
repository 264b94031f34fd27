"""@configurable: one explicit constructor, reachable with plain arguments or with a config."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from yacs.config import CfgNode as _YacsNode

from d2lite.utils.errors import InputTypeError

from .optional_omegaconf import DictConfig


class FromConfigError(TypeError, AttributeError):
    """A class whose `__init__` is @configurable has no classmethod `from_config`."""


def configurable(
    init_func: Callable[..., Any] | None = None,
    *,
    from_config: Callable[..., dict[str, Any]] | None = None,
) -> Any:
    """Let a class or function with plain arguments be called with a config as well.

    On a class, decorate `__init__` and give the class a classmethod `from_config(cfg, ...)` that
    returns the arguments of `__init__` as a dict::

        class Head(nn.Module):
            @configurable
            def __init__(self, num_classes: int, *, width: int = 256): ...

            @classmethod
            def from_config(cls, cfg, input_shape):
                return {"num_classes": cfg.MODEL.ROI_HEADS.NUM_CLASSES}

        Head(num_classes=3)                # plain
        Head(cfg, input_shape)             # through from_config
        Head(cfg, input_shape, width=128)  # what from_config does not take overrides its result

    On a function, write `@configurable(from_config=lambda cfg, ...: {...})`.

    Args:
        init_func: the decorated `__init__`, when used without parentheses.
        from_config: for functions, what turns the config into arguments.

    Raises:
        InputTypeError: if it decorates something else, or `from_config` does not take the config
            first.
        FromConfigError: if the class has no `from_config`.
    """
    if init_func is not None:
        return _configurable_init(init_func)
    if from_config is None:
        raise InputTypeError(
            "configurable() needs from_config=... on a function; on __init__ write @configurable "
            "without parentheses."
        )
    _check_takes_cfg(from_config)
    convert = from_config

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if _called_with_cfg(*args, **kwargs):
                return function(**_get_args_from_config(convert, *args, **kwargs))
            return function(*args, **kwargs)

        call.from_config = convert  # type: ignore[attr-defined]
        return call

    return decorate


def _configurable_init(init_func: Callable[..., Any]) -> Callable[..., Any]:
    if not inspect.isfunction(init_func) or init_func.__name__ != "__init__":
        raise InputTypeError("@configurable without from_config=... decorates __init__ only.")

    @functools.wraps(init_func)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        convert = getattr(type(self), "from_config", None)
        if not inspect.ismethod(convert):
            raise FromConfigError(
                f"{type(self).__name__} has a @configurable __init__ and so needs a classmethod "
                "from_config(cls, cfg, ...)."
            )
        if _called_with_cfg(*args, **kwargs):
            _check_takes_cfg(convert)
            init_func(self, **_get_args_from_config(convert, *args, **kwargs))
        else:
            init_func(self, *args, **kwargs)

    return init


def _check_takes_cfg(convert: Callable[..., Any]) -> None:
    parameters = list(inspect.signature(convert).parameters)
    if not parameters or parameters[0] != "cfg":
        raise InputTypeError(
            f"{getattr(convert, '__qualname__', convert)} gets the config as 'cfg', before all "
            f"other arguments; its parameters are {parameters or 'none'}."
        )


def _called_with_cfg(*args: Any, **kwargs: Any) -> bool:
    """Whether the first argument, or the one of the name cfg, is a config."""
    first = args[0] if args else kwargs.get("cfg")
    return isinstance(first, (_YacsNode, DictConfig))


def _get_args_from_config(
    convert: Callable[..., dict[str, Any]], /, *args: Any, **kwargs: Any
) -> dict[str, Any]:
    """Arguments for the plain call: what `convert` makes, under what only the plain call knows."""
    parameters = inspect.signature(convert).parameters.values()
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    if takes_all:
        return convert(*args, **kwargs)
    wanted = {
        parameter.name
        for parameter in parameters
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY)
    }
    passed = {name: value for name, value in kwargs.items() if name in wanted}
    overrides = {name: value for name, value in kwargs.items() if name not in wanted}
    return {**convert(*args, **passed), **overrides}
