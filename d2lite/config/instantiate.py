"""instantiate: make the objects that a Python config describes."""

import dataclasses
import functools
import importlib.util
import logging
from collections.abc import Mapping
from typing import Any

from d2lite.utils.errors import InputTypeError
from d2lite.utils.registry import locate

from .optional_omegaconf import DictConfig, ListConfig, OmegaConf, TupleConfig

__all__ = ["dump_dataclass", "instantiate"]

logger = logging.getLogger(__name__)

_FLAGS = ("_target_", "_recursive_", "_partial_")


def instantiate(cfg: Any) -> Any:
    """Call what a config names, with the arguments that it lists.

    Args:
        cfg: a mapping with `_target_`, a callable or its dotted address. The other keys are its
            arguments, which are instantiated first unless `_recursive_` is false. With `_partial_`
            the callable and its arguments are returned as a `functools.partial`.

    Returns:
        The result of the call. A list, and a mapping without `_target_`, is returned with its
        parts instantiated, as itself where there are none. A config that a dataclass describes
        becomes an object of that dataclass. Everything else is returned as it is.

    Raises:
        InputTypeError: if `_target_` does not name a callable.
        TypeError: if the arguments do not fit.
        UnknownNameError: if its address cannot be imported.
    """
    if isinstance(cfg, DictConfig) and dataclasses.is_dataclass(OmegaConf.get_type(cfg)):
        return OmegaConf.to_object(cfg)
    if isinstance(cfg, tuple | TupleConfig) and not hasattr(cfg, "_fields"):
        return tuple(instantiate(part) for part in cfg)
    if isinstance(cfg, list | ListConfig):
        return [instantiate(part) for part in cfg]
    if not isinstance(cfg, Mapping):
        return cfg
    if "_target_" in cfg:
        return _call(cfg)
    # A mapping that calls nothing stays itself, with its attributes and references.
    return {key: instantiate(cfg[key]) for key in cfg} if _calls_something(cfg) else cfg


def _calls_something(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "_target_" in value or any(_calls_something(value[key]) for key in value)
    if isinstance(value, list | ListConfig | tuple | TupleConfig):
        return any(_calls_something(part) for part in value)
    return False


def _call(cfg: Mapping[str, Any]) -> Any:
    target = _find_target(cfg["_target_"])
    is_recursive = cfg.get("_recursive_", True)
    arguments = {
        # Read one by one, in place: references to other values are resolved there.
        str(key): instantiate(cfg[key]) if is_recursive else cfg[key]
        for key in cfg
        if key not in _FLAGS
    }
    if cfg.get("_partial_", False):
        return functools.partial(target, **arguments)
    try:
        return target(**arguments)
    except Exception:
        logger.error(f"The call of {target} by a config failed, with {', '.join(arguments)}.")
        raise


def _find_target(target: Any) -> Any:
    found = locate(own_address(target)) if isinstance(target, str) else instantiate(target)
    if not callable(found):
        raise InputTypeError(
            f"_target_ {target!r} is not a callable but {type(found).__name__}; give a class, a "
            "function or the address of one."
        )
    return found


def own_address(name: str) -> str:
    """The address here of a thing of detectron2's, where detectron2 is not installed."""
    first, dot, rest = name.partition(".")
    if first == "detectron2" and importlib.util.find_spec(first) is None:
        return f"d2lite{dot}{rest}"
    return name


def dump_dataclass(obj: Any) -> dict[str, Any]:
    """Describe an object of a dataclass by a dict that `instantiate` turns into its equal.

    Raises:
        TypeError: if it is not an object of a dataclass.
    """
    if not dataclasses.is_dataclass(obj) or isinstance(obj, type):
        raise TypeError(f"dump_dataclass needs an object of a dataclass; found {obj!r}.")
    parts = {field.name: getattr(obj, field.name) for field in dataclasses.fields(obj)}
    return {
        "_target_": f"{type(obj).__module__}.{type(obj).__qualname__}",
        **{key: _dump_part(value) for key, value in parts.items()},
    }


def _dump_part(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dump_dataclass(value)
    if isinstance(value, list | tuple):
        return [_dump_part(part) for part in value]
    return value
