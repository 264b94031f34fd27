"""setup_cfg: the config that a command line describes."""

from collections.abc import Sequence

from d2lite.config import CfgNode, find_config_file, get_cfg
from d2lite.config.python_run import is_python_config_file, load_run_config
from d2lite.projects import add_project_configs

from ..hooks import HOOK_REGISTRY
from .user_code import import_user_code


def setup_cfg(
    config_file: str = "", opts: Sequence[str] = (), imports: Sequence[str] = ()
) -> CfgNode:
    """Make the config of a tool: defaults, projects, user's code, file, command line.

    Args:
        config_file: path or (partial) name of a config; "" for the defaults.
        opts: KEY, VALUE, KEY, VALUE, ...; for a Python config KEY=VALUE, +KEY=VALUE, ~KEY, ...
        imports: Python files or modules to import first; a function `add_config(cfg)` in one of
            them is called, so that it can add keys, and hooks that they register are added.

    Returns:
        The config, not frozen. A Python config, or the YAML that one was saved as, gives a
        `PythonRunConfig`.
    """
    # argparse leaves the "--" that ends the options among the rest.
    opts = [word for word in opts if word != "--"]
    cfg = get_cfg()
    add_project_configs(cfg)
    modules = [import_user_code(path_or_module) for path_or_module in imports]
    for module in modules:
        add_config = getattr(module, "add_config", None)
        if add_config is not None:
            add_config(cfg)
    path = find_config_file(config_file) if config_file else None
    if path is not None and is_python_config_file(path):
        cfg = load_run_config(path, opts)
    else:
        if path is not None:
            cfg.merge_from_file(path)
        cfg.merge_from_list(opts)
    _add_hooks(cfg, {module.__name__ for module in modules})
    return cfg


def _add_hooks(cfg: CfgNode, modules: set[str]) -> None:
    """List the hooks that a user's files have registered in HOOKS."""
    found = [name for name, kind in HOOK_REGISTRY if kind.__module__ in modules]
    if set(found) - set(cfg.HOOKS):
        names = tuple(dict.fromkeys([*cfg.HOOKS, *found]))
        cfg.derive("HOOKS", names, "hooks that a file of --import has registered")
