"""Adding keys to a configuration, as projects do."""

import copy
from collections.abc import Mapping
from typing import Any

from .node import CfgNode

__all__ = ["add_new_keys"]


def add_new_keys(cfg: CfgNode, defaults: Mapping[str, Any]) -> None:
    """Add keys that a configuration does not have yet.

    Args:
        cfg: changed in place; keys that it has already keep their value.
        defaults: dotted name -> default value; missing sections are made.
    """
    for key, default in defaults.items():
        *sections, name = key.split(".")
        node = cfg
        for section in sections:
            if section not in node:
                node[section] = CfgNode()
            node = node[section]
        if name not in node:
            node[name] = copy.deepcopy(default)
