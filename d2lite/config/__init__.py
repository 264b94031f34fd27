"""Configuration: nodes that know where each value came from, and classes built from them."""

from .compat import downgrade_config, upgrade_config
from .config import get_cfg, global_cfg, set_global_cfg
from .configurable import configurable
from .instantiate import instantiate
from .lazy import LazyCall, LazyConfig
from .locate import find_config_file
from .new_keys import add_new_keys
from .node import CfgNode
from .number_ranges import check_numbers
from .python_run import PythonRunConfig, as_run_config
from .report import annotated_yaml, config_diff

__all__ = [
    "CfgNode",
    "LazyCall",
    "LazyConfig",
    "PythonRunConfig",
    "add_new_keys",
    "annotated_yaml",
    "as_run_config",
    "check_numbers",
    "config_diff",
    "configurable",
    "downgrade_config",
    "find_config_file",
    "get_cfg",
    "global_cfg",
    "instantiate",
    "set_global_cfg",
    "upgrade_config",
]
