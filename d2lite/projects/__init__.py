"""Projects: models outside of d2lite's own packages, importable as `d2lite.projects.NAME`.

In a checkout the package of a project is `projects/NAME/NAME`; an installed wheel carries it as
`d2lite/projects/NAME`. Either way `add_project_configs` finds it, and d2lite names none of them.
"""

import fnmatch
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = [
    "add_project_configs",
    "build_project_mapper",
    "build_project_optimizer",
    "project_names",
    "without_unused_project_keys",
]

_CHECKOUT = Path(__file__).resolve().parents[2]
if (_CHECKOUT / "pyproject.toml").is_file():
    __path__.extend(
        str(folder)
        for folder in sorted((_CHECKOUT / "projects").glob("*"))
        if (folder / folder.name / "__init__.py").is_file()
    )


def project_names() -> list[str]:
    """Names of the projects that can be imported, sorted."""
    return sorted({found.name for found in pkgutil.iter_modules(__path__) if found.ispkg})


def add_project_configs(cfg: Any) -> None:
    """Import every project and let its function `add_..._config(cfg)` add its keys.

    A key that is there already keeps its value, whatever a project makes of it when its function
    is called alone: one project's optimizer must not become that of all models.

    Args:
        cfg: the config to extend, in place.
    """
    before = [(key, value, cfg.origin(key)) for key, value in cfg.keys_and_values()]
    for project in _projects():
        for name in fnmatch.filter(dir(project), "add_*_config"):
            getattr(project, name)(cfg)
    after = dict(cfg.keys_and_values())
    for key, value, origin in before:
        if after[key] != value:
            cfg.merge_from_list([key, value], origin)


def without_unused_project_keys(cfg: Any, plain: Any) -> Any:
    """A copy of a config without the keys of projects that its model does not use.

    A project is used if somebody set one of its keys, or if the value of a key that is not its
    own names a class or function that is defined in it.

    Args:
        cfg: a config, which may have the keys of any projects.
        plain: the defaults without projects, as of `get_cfg()`.
    """
    values = dict(cfg.keys_and_values())
    names = [value for key, value in values.items() if plain.has_key(key)]
    used, unused = set(), set()
    for project in _projects():
        own = plain.clone()
        for name in fnmatch.filter(dir(project), "add_*_config"):
            getattr(project, name)(own)
        keys = [key for key, _ in own.keys_and_values() if not plain.has_key(key)]
        is_set = any(key in values and not cfg.is_default(key) for key in keys)
        is_named = any(_is_defined_in(project, name) for name in names if isinstance(name, str))
        (used if is_set or is_named else unused).update(keys)
    shown = cfg.clone()
    shown.defrost()
    for key in unused - used:
        if key in values:
            shown.remove(key)
    return shown


def _is_defined_in(project: ModuleType, name: str) -> bool:
    module = getattr(getattr(project, name, None), "__module__", None) or ""
    return f"{module}.".startswith(f"{project.__name__}.")


def build_project_mapper(cfg: Any) -> Any | None:
    """The mapper that makes the training samples of a project's model.

    Args:
        cfg: the whole config.

    Returns:
        What the first `build_train_mapper(cfg)` of a project returns; None if no project has one
        for this model, which then takes the usual mapper.
    """
    return _first_made("build_train_mapper", cfg)


def build_project_optimizer(cfg: Any, model: Any) -> Any | None:
    """The optimizer that a project's recipe asks for.

    Args:
        cfg: the whole config.
        model: to train.

    Returns:
        What the first `build_train_optimizer(cfg, model)` of a project returns; None if no project
        has one for this model, which then has the usual one.
    """
    return _first_made("build_train_optimizer", cfg, model)


def _first_made(function: str, *arguments: Any) -> Any | None:
    for project in _projects():
        build = getattr(project, function, None)
        made = None if build is None else build(*arguments)
        if made is not None:
            return made
    return None


def _projects() -> Iterator[ModuleType]:
    for name in project_names():
        yield importlib.import_module(f"{__name__}.{name}")
