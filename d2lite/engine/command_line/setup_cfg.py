"""setup_cfg: the config that a command line describes."""

from collections.abc import Sequence

from d2lite.config import CfgNode, find_config_file, get_cfg
from d2lite.projects import add_project_configs

from .user_code import import_user_code


def setup_cfg(
    config_file: str = "", opts: Sequence[str] = (), imports: Sequence[str] = ()
) -> CfgNode:
    """Make the config of a tool: defaults, projects, user's code, file, command line.

    Args:
        config_file: path or (partial) name of a config; "" for the defaults.
        opts: KEY, VALUE, KEY, VALUE, ...
        imports: Python files or modules to import first; a function `add_config(cfg)` in one of
            them is called, so that it can add keys.

    Returns:
        The config, not frozen.
    """
    cfg = get_cfg()
    add_project_configs(cfg)
    for path_or_module in imports:
        add_config = getattr(import_user_code(path_or_module), "add_config", None)
        if add_config is not None:
            add_config(cfg)
    if config_file:
        cfg.merge_from_file(find_config_file(config_file))
    # argparse leaves the "--" that ends the options among the rest.
    cfg.merge_from_list([word for word in opts if word != "--"])
    return cfg
