"""import_user_code: a user's own file, imported so that what it registers can be used."""

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from d2lite.utils.errors import ConfigError, MissingFileError


def import_user_code(path_or_module: str) -> ModuleType:
    """Import a Python file or module; a second call returns the same module.

    The file's folder joins the search path, so that files beside it, and loader workers that
    unpickle its classes, find it by name.

    Args:
        path_or_module: "folder/my_backbone.py" or "my_package.my_backbone".

    Returns:
        The imported module.

    Raises:
        MissingFileError: if there is no such file.
        ConfigError: if there is no such module, or the file is not Python.
    """
    if path_or_module.endswith(".py") or "/" in path_or_module:
        return _import_file(Path(os.path.expanduser(path_or_module)))
    try:
        return importlib.import_module(path_or_module)
    except ModuleNotFoundError as error:
        # A module that was found but imports something missing is another mistake than ours.
        if error.name is None or not f"{path_or_module}.".startswith(f"{error.name}."):
            raise
        raise ConfigError(
            f"--import {path_or_module}: no module of this name is on Python's search path. Give "
            f"the path of a file, such as {path_or_module.replace('.', '/')}.py, or set PYTHONPATH."
        ) from error


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise MissingFileError(
            f"--import {path}: there is no such file (looked in {Path.cwd()}). Give the path of a "
            "Python file or the dotted name of a module."
        )
    path = path.resolve()
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file is not None and Path(file) == path:
            return module
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    name = path.stem if _is_free(path.stem, path) else f"d2lite_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"--import {path}: this is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        # A half-made module must not be found by the next import.
        del sys.modules[name]
        if isinstance(error, SyntaxError):
            place = f"{error.filename or path}, line {error.lineno or 1}"
            raise ConfigError(f"--import {path}: {place} is not Python: {error.msg}.") from error
        raise
    return module


def _is_free(name: str, path: Path) -> bool:
    """Tell whether importing `name` would give this very file."""
    if name in sys.modules or not name.isidentifier():
        return False
    found = importlib.util.find_spec(name)
    return found is not None and found.origin is not None and Path(found.origin).resolve() == path
