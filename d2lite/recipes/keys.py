"""Keys: the values of a config by dotted names, as they are and as they were before the rules."""

from functools import reduce
from operator import getitem
from typing import Any

from d2lite.config import CfgNode


class Keys:
    """What the rules read: `keys["SOLVER.MAX_ITER"]`.

    Attributes:
        cfg: with what the rules have decided so far.
    """

    def __init__(self, cfg: CfgNode) -> None:
        """Store the config, which the rules change from now on."""
        self.cfg, self._before = cfg, cfg.clone()

    def __getitem__(self, key: str) -> Any:
        return _value(self.cfg, key)

    def before(self, key: str) -> Any:
        """The value that the base config, or the user, has given a key."""
        return _value(self._before, key)


def _value(cfg: CfgNode, key: str) -> Any:
    return reduce(getitem, key.split("."), cfg)
