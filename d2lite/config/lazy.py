"""LazyConfig and LazyCall: configs that are Python files and describe calls instead of making them.

A config file builds its values with `LazyCall`, and `instantiate` makes the objects later:

    from d2lite.config import LazyCall as L
    model = L(MyModel)(backbone=L(ResNet)(depth=50), num_classes=3)
"""

import dataclasses
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from d2lite.utils.errors import ConfigError, MissingFileError, UnknownNameError
from d2lite.utils.file_io import PathManager, write_file
from d2lite.utils.registry import address_of

from .optional_omegaconf import DictConfig, ListConfig
from .overrides import apply_override
from .python_file import as_config, run_config_file
from .python_text import python_text
from .python_yaml import dump_python_config, load_python_yaml

__all__ = ["LazyCall", "LazyConfig"]

logger = logging.getLogger(__name__)


class LazyCall:
    """Describes a call: `LazyCall(target)(name=value)` is a config that `instantiate` carries out.

    Args:
        target: a callable, its dotted address, or a config whose result is a callable.

    Raises:
        TypeError: if it is none of these.
    """

    def __init__(self, target: Callable[..., Any] | str | Mapping[str, Any]) -> None:
        if not (callable(target) or isinstance(target, str | Mapping)):
            raise TypeError(f"LazyCall needs a callable or what describes one; found {target!r}.")
        self._target = target

    def __call__(self, **kwargs: Any) -> Any:
        """A DictConfig of the arguments, with the target as `_target_`."""
        target = self._target
        if dataclasses.is_dataclass(target) or any(target is kind for kind in (dict, list, tuple)):
            # omegaconf takes these for a description of the value's type.
            target = address_of(target) or target
        content: dict[Any, Any] = {**kwargs, "_target_": target}
        return DictConfig(content, flags={"allow_objects": True})


class LazyConfig:
    """Loads, changes, saves and shows Python configs."""

    @staticmethod
    def load(filename: str, keys: str | tuple[str, ...] | None = None) -> Any:
        """Run a config file.

        Args:
            filename: path or address of a Python file, or of the YAML that `save` wrote.
            keys: names to return.

        Returns:
            The value of the name `keys`; a tuple of the values of several; without `keys` a
            DictConfig of all dicts and calls at the top of the file whose names do not begin with
            an underscore.

        Raises:
            MissingFileError: if there is no such file.
            ConfigError: if its ending is neither .py, .yaml nor .yml.
            UnknownNameError: if it does not have one of `keys`.
        """
        path = Path(PathManager.get_local_path(str(filename)))
        if not path.is_file():
            raise MissingFileError(f"There is no config file {str(filename)!r}.")
        if path.suffix == ".py":
            values = run_config_file(path)
        elif path.suffix in (".yaml", ".yml"):
            loaded = load_python_yaml(path)
            values = dict(loaded) if isinstance(loaded, Mapping) else {}
        else:
            raise ConfigError(f"The config file {filename} has to end in .py, .yaml or .yml.")
        if keys is not None:
            return _pick(values, keys, str(filename))
        kinds = (DictConfig, ListConfig, dict) if path.suffix == ".py" else object
        shown = {
            name: as_config(value)
            for name, value in values.items()
            if isinstance(value, kinds) and not name.startswith("_")
        }
        return as_config(shown)

    @staticmethod
    def load_rel(filename: str, keys: str | tuple[str, ...] | None = None) -> Any:
        """As `load`, for a path that is relative to the file of the caller."""
        frame = inspect.currentframe()
        caller = frame.f_back if frame else None
        if caller is None or caller.f_code.co_filename.startswith("<"):
            raise ConfigError("LazyConfig.load_rel needs a caller in a file; use LazyConfig.load.")
        return LazyConfig.load(str(Path(caller.f_code.co_filename).parent / filename), keys)

    @staticmethod
    def save(cfg: Any, filename: str) -> None:
        """Write a config as YAML that `load` reads.

        Callables are written by their address and references to other values as they are. Values
        that have no such form, as a lambda, are replaced by a mark and listed in a warning; where
        the package cloudpickle is installed, the whole config then is in FILENAME.pkl, too.

        Args:
            cfg: a DictConfig or a mapping.
            filename: ends in .yaml.
        """
        text, unsaved = dump_python_config(cfg)
        write_file(filename, text)
        if not unsaved:
            return
        pickled = _pickle(cfg, f"{filename}.pkl")
        logger.warning(
            f"{filename} cannot hold {', '.join(unsaved)}. The other values are saved"
            f"{'; all are in ' + pickled if pickled else ''}. Functions of a module and "
            "functools.partial with named arguments can be saved; lambdas cannot."
        )

    @staticmethod
    def apply_overrides(cfg: Any, overrides: Sequence[str]) -> Any:
        """Change a config in place by words of a command line.

        Args:
            cfg: a DictConfig.
            overrides: each "a.b=VALUE", "+a.b=VALUE" or "~a.b"; see `overrides.apply_override`.

        Returns:
            `cfg`.

        Raises:
            ConfigError: if a word is not of this form.
            UnknownNameError: if a part of a key cannot have parts, or is not there to be removed.
        """
        for word in overrides:
            apply_override(cfg, word)
        return cfg

    @staticmethod
    def to_py(cfg: Any, prefix: str = "cfg.") -> str:
        """Show a config as text that reads like Python; it is not meant to be run.

        Args:
            cfg: a DictConfig or a mapping.
            prefix: what every line begins with.
        """
        return python_text(cfg, prefix)


def _pick(values: Mapping[str, Any], keys: str | tuple[str, ...], filename: str) -> Any:
    wanted = (keys,) if isinstance(keys, str) else tuple(keys)
    absent = [key for key in wanted if key not in values]
    if absent:
        known = ", ".join(key for key in values if not key.startswith("_"))
        raise UnknownNameError(f"{filename} has no {', '.join(absent)}; it has {known or 'none'}.")
    picked = tuple(as_config(values[key]) for key in wanted)
    return picked[0] if isinstance(keys, str) else picked


def _pickle(cfg: Any, filename: str) -> str | None:
    """Write all of `cfg` where that is possible; the name of the file then."""
    try:
        import cloudpickle

        content = cloudpickle.dumps(cfg)
    except Exception as error:
        logger.debug(f"{filename} is not written: {error}")
        return None
    write_file(filename, content)
    return filename
