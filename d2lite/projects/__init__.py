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

__all__ = ["add_project_configs", "build_project_mapper", "project_names"]

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


def build_project_mapper(cfg: Any) -> Any | None:
    """The mapper that makes the training samples of a project's model.

    Args:
        cfg: the whole config.

    Returns:
        What the first `build_train_mapper(cfg)` of a project returns; None if no project has one
        for this model, which then takes the usual mapper.
    """
    for project in _projects():
        build = getattr(project, "build_train_mapper", None)
        mapper = None if build is None else build(cfg)
        if mapper is not None:
            return mapper
    return None


def _projects() -> Iterator[ModuleType]:
    for name in project_names():
        yield importlib.import_module(f"{__name__}.{name}")
