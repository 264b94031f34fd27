"""A config as text for people: what differs from the defaults, and where each value came from."""

from typing import Any

import yaml

from .config import get_cfg
from .node import CfgNode

_COMMENT_COLUMN = 48


def config_diff(cfg: CfgNode, base: CfgNode | None = None) -> dict[str, Any]:
    """The keys whose values differ from those of `base`.

    Args:
        cfg: the config to look at.
        base: what to compare with; None takes the defaults of `get_cfg()`.

    Returns:
        Nested dict of plain values, empty if nothing differs. Merged into a copy of `base`, it
        gives a config equal to `cfg`.
    """
    return _diff(cfg, get_cfg() if base is None else base)


def _diff(node: CfgNode, base: CfgNode) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in node.items():
        other = base.get(name)
        if isinstance(value, CfgNode):
            inner = _diff(value, other if isinstance(other, CfgNode) else CfgNode())
            if inner:
                found[name] = inner
        elif name not in base or value != other:
            found[name] = value
    return found


def annotated_yaml(cfg: CfgNode, only_diff: bool = False, base: CfgNode | None = None) -> str:
    """The config as YAML, each value with its origin as a comment.

    Args:
        cfg: the config to show.
        only_diff: show only the keys that differ from `base`.
        base: what to compare with; None takes the defaults of `get_cfg()`.

    Returns:
        YAML that loads back: to an equal config, on top of `base` where only differences are shown.
    """
    shown = config_diff(cfg, base) if only_diff else cfg
    return "\n".join(_lines(shown, cfg, "", 0)) + "\n" if shown else "{}\n"


def _lines(shown: dict[str, Any], cfg: CfgNode, prefix: str, depth: int) -> list[str]:
    lines = []
    indent = "  " * depth
    for name in sorted(shown):
        value = shown[name]
        if isinstance(value, dict):
            inner = _lines(value, cfg, f"{prefix}{name}.", depth + 1)
            lines += [f"{indent}{name}:", *inner] if inner else [f"{indent}{name}: {{}}"]
            continue
        text = f"{indent}{name}: {_flow(value)}"
        comment = " ".join(cfg.origin(prefix + name).split())
        lines.append(f"{text:<{_COMMENT_COLUMN}}  # {comment}")
    return lines


def _flow(value: Any) -> str:
    """One value on one line of YAML."""
    dumped = yaml.safe_dump([value], default_flow_style=True, width=10**6)
    # Wrapped in a list, a scalar is dumped without an end-of-document mark.
    return str(dumped).strip()[1:-1]
