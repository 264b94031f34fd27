"""Projects: models outside of d2lite's own packages, importable as `d2lite.projects.NAME`.

In a checkout the package of a project is `projects/NAME/NAME`; an installed wheel carries it as
`d2lite/projects/NAME`. Either way `add_project_configs` finds it, and d2lite names none of them.
"""

import importlib
import pkgutil
from pathlib import Path
from typing import Any

__all__ = ["add_project_configs", "project_names"]

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
    """Import every project and let its `add_NAME_config(cfg)`, where it has one, add its keys.

    Args:
        cfg: the config to extend, in place.
    """
    for name in project_names():
        project = importlib.import_module(f"{__name__}.{name}")
        add_config = getattr(project, f"add_{name}_config", None)
        if add_config is not None:
            add_config(cfg)
