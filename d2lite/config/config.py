"""`get_cfg`, the global config, and the old address of `CfgNode` and `configurable`."""

from .configurable import _called_with_cfg, _get_args_from_config, configurable
from .defaults import _C
from .node import CfgNode

__all__ = [
    "CfgNode",
    "_called_with_cfg",
    "_get_args_from_config",
    "configurable",
    "get_cfg",
    "global_cfg",
    "set_global_cfg",
]

# A config that code can read without an argument for it; for quick experiments only.
global_cfg = CfgNode()


def get_cfg() -> CfgNode:
    """A fresh, unfrozen copy of the default config."""
    fresh: CfgNode = _C.clone()
    return fresh


def set_global_cfg(cfg: CfgNode) -> None:
    """Make `global_cfg` hold the keys of `cfg`; whoever imported it before sees them too.

    Args:
        cfg: the sections are shared with it, not copied.
    """
    global_cfg.defrost()
    global_cfg.clear()
    for key, value in cfg.items():
        global_cfg[key] = value
