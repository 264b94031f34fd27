"""HOOK_REGISTRY and build_hooks_by_name: hooks of a user's own, added by the key HOOKS."""

from inspect import isbuiltin, isclass, signature

from d2lite.config import CfgNode
from d2lite.engine.trainer_base import HookBase
from d2lite.utils.errors import InputTypeError
from d2lite.utils.registry import Registry, locate

__all__ = ["HOOK_REGISTRY", "build_hooks_by_name"]

HOOK_REGISTRY = Registry("HOOK")
"""Hooks for the key HOOKS: classes or functions that are called with the config, or with nothing.

One that a file of `--import` registers is added without the key.
"""


def build_hooks_by_name(cfg: CfgNode) -> list[HookBase]:
    """Make the hooks that HOOKS lists.

    Args:
        cfg: the whole config.

    Raises:
        UnknownNameError: if one is neither registered nor a dotted address.
        InputTypeError: if one is not a hook, and does not make one.
    """
    return [_made(name, cfg) for name in dict.fromkeys(cfg.HOOKS)]


def _made(name: str, cfg: CfgNode) -> HookBase:
    is_address = "." in name and name not in HOOK_REGISTRY
    kind = locate(name) if is_address else HOOK_REGISTRY.get(name)
    is_other_class = isclass(kind) and not issubclass(kind, HookBase)
    if is_other_class or isbuiltin(kind) or not callable(kind):
        # Not called: a config of somebody else may name anything.
        raise InputTypeError(f"HOOKS: {name} is not a HookBase, nor a function that makes one.")
    try:
        takes_cfg = len(signature(kind).parameters) > 0
    except (TypeError, ValueError):
        # Classes of C code may have no signature; hooks are Python.
        takes_cfg = False
    hook = kind(cfg) if takes_cfg else kind()
    if not isinstance(hook, HookBase):
        raise InputTypeError(f"HOOKS: {name} gives {type(hook).__name__}, which is not a HookBase.")
    return hook
