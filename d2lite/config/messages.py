"""Texts about wrong keys: what a mistyped one may mean, and keys of older versions."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from .values import describe

VERSION = 2
# Keys of version 1 files, and what they are called since.
RENAMED = {
    "MODEL.WEIGHT": "MODEL.WEIGHTS",
    "MODEL.RPN_HEAD.NAME": "MODEL.RPN.HEAD_NAME",
    "MODEL.PANOPTIC_FPN.SEMANTIC_LOSS_SCALE": "MODEL.SEM_SEG_HEAD.LOSS_WEIGHT",
    "MODEL.PANOPTIC_FPN.RPN_LOSS_SCALE": "MODEL.RPN.LOSS_WEIGHT",
}


def version_text(value: Any, origin: str) -> str:
    """What to say about a VERSION that is not read."""
    if value in (0, 1):
        renamed = ", ".join(f"{old} -> {new}" for old, new in RENAMED.items())
        return (
            f"{origin}: VERSION {value} is a format from before detectron2; {VERSION} is read. "
            f"Rename its keys ({renamed}) and set VERSION: {VERSION}."
        )
    return f"{origin}: VERSION is {describe(value)}, expected {VERSION}."


def near_names(name: str, known: Iterable[str], cutoff: float = 0.6) -> list[str]:
    """Up to three of `known` that are spelt like `name`, the nearest first, whatever the case."""
    upper = {str(key).upper(): str(key) for key in known}
    found = difflib.get_close_matches(name.upper(), list(upper), n=3, cutoff=cutoff)
    return [upper[key] for key in found]


def near_keys(key: str, known: Sequence[str]) -> list[str]:
    """Valid keys that a mistyped one may mean.

    Close spelling of the whole comes first, then the same last name in another section, which is
    the more frequent mistake of the two for long keys.
    """
    last = key.rpartition(".")[2].upper()
    moved = [name for name in known if name.rpartition(".")[2].upper() == last]
    ordered = [
        *near_names(key, known, 0.85),
        *near_names(key, moved, 0.0),
        *near_names(key, known, 0.6),
    ]
    if not ordered:
        ends = {name.rpartition(".")[2]: name for name in known}
        ordered = [ends[end] for end in near_names(last, ends)]
    return list(dict.fromkeys(ordered))[:4]


def did_you_mean(near: Sequence[str]) -> str:
    """The end of a message: the nearest names, or where to see all."""
    if not near:
        return " Run tools/print_config.py to see all keys."
    return f" Nearest: {', '.join(near)}."
