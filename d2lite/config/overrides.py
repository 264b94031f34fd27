"""Changes of a Python config by words of a command line: KEY=VALUE, +KEY=VALUE, ~KEY."""

import logging
import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from d2lite.utils.errors import ConfigError, UnknownNameError

from .messages import near_names, refuse_flags
from .optional_omegaconf import OmegaConf
from .values import read_literal

__all__ = ["apply_override"]

logger = logging.getLogger(__name__)

_WORD = re.compile(r"(?P<sign>\+{1,2}|~|)(?P<key>[^=\s]+)(=(?P<value>.*))?", re.DOTALL)


def apply_override(cfg: Any, word: str) -> None:
    """Change one value in place.

    Args:
        cfg: a DictConfig.
        word: "a.b=VALUE" sets a value, "+a.b=VALUE" adds one, "~a.b" removes one. A list's part
            is "a.b[0]" or "a.b.0". VALUE is read as YAML, or as a tuple of Python.

    Raises:
        ConfigError: if it is not of this form.
        UnknownNameError: if a part of the key is not there or cannot have parts.
    """
    refuse_flags([word])
    found = _WORD.fullmatch(word)
    if found is None or (found["value"] is None and found["sign"] != "~"):
        raise ConfigError(
            f"The override {word!r} is not of the form KEY=VALUE. Write for instance "
            "train.max_iter=1000, or ~KEY to remove a key."
        )
    key = found["key"]
    parts = re.sub(r"\[(\w+)\]", r".\1", key).split(".")
    _check_parents(cfg, parts)
    if found["sign"] == "~":
        parent = OmegaConf.select(cfg, ".".join(parts[:-1])) if parts[1:] else cfg
        if parent is None or OmegaConf.select(cfg, key, default=parts) is parts:
            raise UnknownNameError(f"~{key}: the config has no such key.")
        del parent[int(parts[-1]) if OmegaConf.is_list(parent) else parts[-1]]
        return
    is_new = OmegaConf.select(cfg, key, default=parts, throw_on_missing=False) is parts
    if is_new and not found["sign"] and not _is_missing_value(cfg, key):
        near = near_names(key, _keys(cfg, ""), cutoff=0.8)
        logger.warning(
            f"The override {word!r} adds {key}, which the config did not have"
            f"{'; did you mean ' + ' or '.join(near) if near else ''}. "
            f"Write +{key} if it is meant."
        )
    OmegaConf.update(cfg, key, _read(found["value"]), merge=True, force_add=True)


def _is_missing_value(cfg: Any, key: str) -> bool:
    """Whether the key is there with the value "???"."""
    parent, _, last = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    return OmegaConf.is_dict(node) and last in node.keys()  # noqa: SIM118  # "in node" denies it


def _check_parents(cfg: Any, parts: Sequence[str]) -> None:
    for length in range(1, len(parts)):
        prefix = ".".join(parts[:length])
        node = OmegaConf.select(cfg, prefix)
        if node is None:
            return
        if not OmegaConf.is_config(node):
            raise UnknownNameError(
                f"{'.'.join(parts)} cannot be set: {prefix} is not a config but of type "
                f"{type(node).__name__}."
            )


def _keys(cfg: Any, prefix: str) -> Iterator[str]:
    if not OmegaConf.is_dict(cfg):
        return
    for key, value in cfg.items_ex(resolve=False):
        yield f"{prefix}{key}"
        yield from _keys(value, f"{prefix}{key}.")


def _read(text: str) -> Any:
    """The value that a text means."""
    if text.startswith("(") and text.endswith(")"):
        value = read_literal(text)
        return list(value) if isinstance(value, tuple) else text
    try:
        value = OmegaConf.from_dotlist([f"value={text}"])
    except yaml.YAMLError:
        return text
    plain: Any = OmegaConf.to_container(value, resolve=False)
    return "" if not text else plain["value"]
