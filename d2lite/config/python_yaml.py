"""Python configs as YAML: callables by their address, and a mark where a value cannot be saved."""

import functools
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from d2lite.utils.errors import ConfigError
from d2lite.utils.nested import refuse_repetition
from d2lite.utils.registry import address_of, locate

from .instantiate import own_address
from .optional_omegaconf import DictConfig, OmegaConf, SCMode

__all__ = ["Unsaved", "dump_python_config", "load_python_yaml"]

_NAME_TAG = "tag:yaml.org,2002:python/name:"
_PLAIN = (str, int, float, bool, type(None))


class Unsaved:
    """Takes the place of a value that a YAML file could not hold; to call it is an error."""

    def __init__(self, what: str) -> None:
        """Remember what was not saved."""
        self.what = what

    def __repr__(self) -> str:
        return f"Unsaved({self.what!r})"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Raise ConfigError."""
        raise ConfigError(
            f"The YAML file of this config could not hold {self.what}. Load the Python file that "
            "it was made from, or set this value again."
        )


class _Address(str):
    """Dotted address of an object that is written as !!python/name."""


def dump_python_config(cfg: Any) -> tuple[str, list[str]]:
    """Write a Python config as YAML.

    Args:
        cfg: a DictConfig or a plain mapping.

    Returns:
        The text, which `load_python_yaml` reads, and "KEY (value)" of each value that it lacks.
    """
    if OmegaConf.is_config(cfg):
        cfg = OmegaConf.to_container(cfg, resolve=False, structured_config_mode=SCMode.DICT_CONFIG)
    unsaved: list[str] = []
    tree = _plain(cfg, "", unsaved)
    text = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=9999)
    return text, unsaved


def _plain(value: Any, key: str, unsaved: list[str]) -> Any:
    """What of `value` YAML can hold."""
    if isinstance(value, DictConfig):
        # Described by a dataclass: the file names it.
        fields = OmegaConf.to_container(value, resolve=False)
        value = {"_target_": address_of(OmegaConf.get_type(value)), **dict(fields)}  # type: ignore[arg-type]
    if isinstance(value, Mapping):
        return {name: _plain(part, f"{key}.{name}", unsaved) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part, f"{key}[{i}]", unsaved) for i, part in enumerate(value)]
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, functools.partial) and not value.args:
        address = address_of(value.func)
        if address is not None:
            arguments = _plain(value.keywords, key, unsaved)
            return {"_target_": address, "_partial_": True, **arguments}
    address = address_of(value)
    if address is None:
        what = value if isinstance(value, Unsaved) else Unsaved(_describe(value))
        unsaved.append(f"{key.removeprefix('.')} ({what.what})")
        return what
    return address if key.endswith("._target_") else _Address(address)


def _describe(value: Any) -> str:
    code = getattr(value, "__code__", None)
    if code is None:
        return repr(value)
    return f"{value.__qualname__} of {code.co_filename}, line {code.co_firstlineno}"


def load_python_yaml(path: Path) -> Any:
    """Read what `dump_python_config`, or OmegaConf, wrote; nothing in it is called.

    Raises:
        ConfigError: if it is not YAML of this kind.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
        refuse_repetition(content)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read as a config: {error}") from error
    return content


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


class _Loader(yaml.SafeLoader):
    pass


def _read_name(loader: yaml.SafeLoader, address: str, node: yaml.Node) -> Any:
    return locate(own_address(address))


def _read_partial(loader: yaml.SafeLoader, node: yaml.MappingNode) -> Any:
    """A functools.partial as PyYAML writes it: function, arguments, keywords, attributes."""
    function, arguments, keywords, _ = loader.construct_mapping(node, deep=True)["state"]
    return functools.partial(function, *arguments, **keywords)


def _read_unsaved(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Unsaved:
    return Unsaved(str(loader.construct_scalar(node)))


def _read_tuple(loader: yaml.SafeLoader, node: yaml.SequenceNode) -> Any:
    return tuple(loader.construct_sequence(node, deep=True))


_Dumper.add_representer(
    _Address, lambda dumper, value: dumper.represent_scalar(_NAME_TAG + value, "")
)
_Dumper.add_representer(
    Unsaved, lambda dumper, value: dumper.represent_scalar("!unsaved", value.what)
)
_Loader.add_multi_constructor(_NAME_TAG, _read_name)
_Loader.add_constructor("tag:yaml.org,2002:python/tuple", _read_tuple)
for _kind in ("apply", "new"):
    _Loader.add_constructor(
        f"tag:yaml.org,2002:python/object/{_kind}:functools.partial", _read_partial
    )
_Loader.add_constructor("!unsaved", _read_unsaved)
