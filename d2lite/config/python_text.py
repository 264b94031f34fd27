"""A Python config as text that reads like Python."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from d2lite.utils.registry import address_of

from .optional_omegaconf import OmegaConf

__all__ = ["python_text"]

_WIDTH = 88


def python_text(cfg: Any, prefix: str) -> str:
    """One assignment for each value and each call.

    Args:
        cfg: a DictConfig or a mapping.
        prefix: what every line begins with, as "cfg.".
    """
    if OmegaConf.is_config(cfg):
        cfg = OmegaConf.to_container(cfg, resolve=False)
    return "".join(f"{line}\n" for line in _assignments(cfg, prefix))


def _assignments(values: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in values.items():
        is_section = isinstance(value, Mapping) and value and "_target_" not in value
        if is_section and all(str(inner).isidentifier() for inner in value):
            yield from _assignments(value, f"{prefix}{key}.")
        else:
            yield _layout(f"{prefix}{key} = ", value, "", "")


def _layout(lead: str, value: Any, tail: str, indent: str) -> str:
    """`lead`, the value and `tail`, on one line where they fit, else one part a line."""
    opening, parts, closing = _open(value)
    line = f"{indent}{lead}{_on_one_line(value)}{tail}"
    if len(line) <= _WIDTH or not parts:
        return line
    inner = [_layout(label, part, ",", f"{indent}    ") for label, part in parts]
    return "\n".join([f"{indent}{lead}{opening}", *inner, f"{indent}{closing}{tail}"])


def _on_one_line(value: Any) -> str:
    opening, parts, closing = _open(value)
    return opening + ", ".join(label + _on_one_line(part) for label, part in parts) + closing


def _open(value: Any) -> tuple[str, list[tuple[str, Any]], str]:
    """Opening text, labelled parts and closing text; a value without parts is all opening."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            arguments = [(f"{key}=", part) for key, part in value.items() if key != "_target_"]
            return f"{_name(value['_target_'])}(", arguments, ")"
        return "{", [(f"{_name(key, is_text=True)}: ", part) for key, part in value.items()], "}"
    if isinstance(value, list | tuple):
        return "[", [("", part) for part in value], "]"
    return _name(value, is_text=True), [], ""


def _name(value: Any, *, is_text: bool = False) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False) if is_text else value
    if isinstance(value, Mapping):
        return _on_one_line(value)
    return address_of(value) or repr(value)
