"""Configs under the key names of an earlier version, and back.

Files of any version are read by `merge_from_file` as they are; this is for code that calls the
functions by themselves.
"""

from collections.abc import Sequence
from functools import reduce
from operator import getitem
from typing import ClassVar

from d2lite.utils.errors import ArgumentError, ConfigError

from .messages import VERSION
from .new_keys import add_new_keys
from .node import CfgNode
from .old_keys import RENAMED_IN_1, RENAMED_IN_2

__all__ = ["ConverterV1", "ConverterV2", "downgrade_config", "guess_version", "upgrade_config"]


class _RenameConverter:
    """Changes a config between a version and the one before, in place."""

    RENAME: ClassVar[Sequence[tuple[str, str]]] = ()
    """Each key's name in the version before, and its name in this version."""

    @classmethod
    def upgrade(cls, cfg: CfgNode) -> None:
        """Give the keys of the version before their names of this version."""
        for old, new in cls.RENAME:
            _rename(cfg, old, new)

    @classmethod
    def downgrade(cls, cfg: CfgNode) -> None:
        """Give the keys of this version their names of the version before."""
        for old, new in reversed(cls.RENAME):
            _rename(cfg, new, old)


class ConverterV1(_RenameConverter):
    """Between versions 0 and 1."""

    RENAME = tuple(RENAMED_IN_1.items())


class ConverterV2(_RenameConverter):
    """Between versions 1 and 2."""

    RENAME = tuple(RENAMED_IN_2.items())


_STEPS: dict[int, type[_RenameConverter]] = {1: ConverterV1, 2: ConverterV2}


def upgrade_config(cfg: CfgNode, to_version: int | None = None) -> CfgNode:
    """A copy of a config under the key names of a later version.

    Args:
        cfg: of an earlier version, by its VERSION or else its keys.
        to_version: 0, 1 or 2; the present version if None.
    """
    target = VERSION if to_version is None else to_version
    changed: CfgNode = cfg.clone()
    changed.defrost()
    present = int(cfg.VERSION) if "VERSION" in cfg else guess_version(cfg, "the config")
    for version in range(present + 1, target + 1):
        _step(version).upgrade(changed)
    changed["VERSION"] = target
    return changed


def downgrade_config(cfg: CfgNode, to_version: int) -> CfgNode:
    """A copy of a config under the key names of an earlier version.

    Args:
        cfg: of the present version.
        to_version: 0, 1 or 2.

    Raises:
        ArgumentError: for a later version than that of `cfg`.
    """
    if to_version > cfg.VERSION:
        raise ArgumentError(
            f"The config is of version {cfg.VERSION}, which is before {to_version}; use "
            "upgrade_config."
        )
    changed: CfgNode = cfg.clone()
    changed.defrost()
    for version in range(int(cfg.VERSION), to_version, -1):
        _step(version).downgrade(changed)
    changed["VERSION"] = to_version
    return changed


def guess_version(cfg: CfgNode, filename: str) -> int:
    """The version of a config that does not state it, by the names of its keys.

    Args:
        cfg: a whole config, or the part that a file has.
        filename: not used.
    """
    for version, step in _STEPS.items():
        if any(cfg.has_key(old) for old, _ in step.RENAME):
            return version - 1
    return VERSION


def _step(version: int) -> type[_RenameConverter]:
    if version not in _STEPS:
        raise ConfigError(
            f"There is no version {version} of configs; the present one is {VERSION}."
        )
    return _STEPS[version]


def _rename(cfg: CfgNode, old: str, new: str) -> None:
    if not cfg.has_key(old):
        return
    value = reduce(getitem, old.split("."), cfg)
    cfg.remove(old)
    add_new_keys(cfg, {new: value})
