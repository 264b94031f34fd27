"""Texts about wrong keys: what a mistyped one may mean."""

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from d2lite.utils.errors import ConfigError

from .values import describe

VERSION = 2


def version_text(value: Any, origin: str) -> str:
    """The message about a VERSION that is not read."""
    return f"{origin}: VERSION is {describe(value)}, expected {VERSION}."


def refuse_flags(words: Iterable[Any]) -> None:
    """Refuse flags of a command line among what should be keys.

    Raises:
        ConfigError: if one of them begins with two dashes.
    """
    flag = next((str(word) for word in words if str(word).startswith("--")), None)
    if flag is not None:
        raise ConfigError(
            f"{flag} among the KEY VALUE pairs is not an option of this command. If it is one "
            f"of a script of yours, put {flag} before the pairs; --help lists the options."
        )


def refuse_assignments(words: Iterable[Any]) -> None:
    """Refuse KEY=VALUE, as Python configs have options, among what should be keys.

    Raises:
        ConfigError: if there is one.
    """
    for word in map(str, words):
        if re.match(r"[A-Za-z_][\w.]*=", word):
            key, _, value = word.partition("=")
            raise ConfigError(
                f"{word}: KEY=VALUE is for Python configs; of a YAML config it is {key} {value}."
            )


def near_names(name: str, known: Iterable[str], cutoff: float = 0.6) -> list[str]:
    """Up to three of `known` with a spelling like that of `name`, the nearest first; any case."""
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
        return " Run `d2lite config` to see all keys."
    return f" Nearest: {', '.join(near)}."
