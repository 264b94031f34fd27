"""setup_cfg: the config that a command line describes."""

from collections.abc import Sequence

from d2lite.config import CfgNode, find_config_file, get_cfg
from d2lite.config.python_run import is_python_config_file, load_run_config
from d2lite.projects import add_project_configs

from .user_code import import_user_code


def setup_cfg(
    config_file: str = "", opts: Sequence[str] = (), imports: Sequence[str] = ()
) -> CfgNode:
    """Make the config of a tool: defaults, projects, user's code, file, command line.

    Args:
        config_file: path or (partial) name of a config; "" for the defaults.
        opts: KEY, VALUE, KEY, VALUE, ...; for a Python config KEY=VALUE, +KEY=VALUE, ~KEY, ...
        imports: Python files or modules to import first; a function `add_config(cfg)` in one of
            them is called, so that it can add keys.

    Returns:
        The config, not frozen. A Python config, or the YAML that one was saved as, gives a
        `PythonRunConfig`.
    """
    # argparse leaves the "--" that ends the options among the rest.
    opts = [word for word in opts if word != "--"]
    cfg = get_cfg()
    add_project_configs(cfg)
    for path_or_module in imports:
        add_config = getattr(import_user_code(path_or_module), "add_config", None)
        if add_config is not None:
            add_config(cfg)
    if config_file:
        path = find_config_file(config_file)
        if is_python_config_file(path):
            return load_run_config(path, opts)
        cfg.merge_from_file(path)
    cfg.merge_from_list(opts)
    return cfg
