"""Run a Python config file, whose relative imports read the config files beside it."""

import builtins
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from d2lite.utils.errors import MissingFileError

from .optional_omegaconf import DictConfig

__all__ = ["as_config", "run_config_file"]

_MODULE_NAMES = ("__builtins__", "__file__", "__name__", "__package__")


def run_config_file(path: Path, importers: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Execute a config file from scratch.

    `from .FILE import NAME` in it runs another config file by the same rules: each import reads
    the file again, so that what one file changes in an imported value is not seen by another.
    Dicts are imported as configs. Every other import is an ordinary one.

    Args:
        path: the file.
        importers: the files whose imports led here, the first one first.

    Returns:
        Its global names and their values.

    Raises:
        MissingFileError: if there is no such file.
        ImportError: if a relative import does not fit.
        SyntaxError: if it is not Python.
    """
    path = path.resolve()
    if not path.is_file():
        raise MissingFileError(f"There is no config file {str(path)!r}.")
    # Only code of this file sees these builtins: nothing is replaced for anybody else.
    own_builtins = {**vars(builtins), "__import__": _importer(path, (*importers, path))}
    names: dict[str, Any] = {
        "__builtins__": own_builtins,
        "__file__": str(path),
        "__name__": f"d2lite_config_file.{path.stem}",
        "__package__": "d2lite_config_file",
    }
    exec(compile(path.read_bytes(), str(path), "exec"), names)
    return {key: value for key, value in names.items() if key not in _MODULE_NAMES}


def _importer(path: Path, chain: tuple[Path, ...]) -> Callable[..., Any]:
    """The import function of the file at `path`."""

    def import_module(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        if level == 0:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        wanted = f"relative import of {'.' * level}{name} in {path}"
        if not name:
            raise ImportError(f"{wanted}: name a config file, as in 'from .FILE import NAME'.")
        target = path.parents[level - 1].joinpath(*name.split("."))
        source = target.with_name(f"{target.name}.py")
        if not source.is_file():
            kind = "a folder, which cannot be imported" if target.is_dir() else "not there"
            raise ImportError(f"{wanted}: the config file {source} is {kind}.")
        if source.resolve() in chain:
            circle = " -> ".join(file.name for file in (*chain, source))
            raise ImportError(f"{wanted}: these config files import each other: {circle}.")
        module = ModuleType(f"d2lite_config_file.{name}")
        module.__file__ = str(source)
        values = run_config_file(source, chain)
        imported = values if "*" in (fromlist or ()) else fromlist or ()
        module.__dict__.update({key: as_config(values[key]) for key in imported if key in values})
        return module

    return import_module


def as_config(value: Any) -> Any:
    """A dict as a config that may hold any object; everything else is returned as it is."""
    return DictConfig(value, flags={"allow_objects": True}) if type(value) is dict else value
