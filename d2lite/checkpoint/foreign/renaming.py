"""Rules that turn one library's names of weights into another's."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

# At the end of a new name: which part of a joined tensor the weight is.
_PART = re.compile(r"^(.+)\.\{(q|k|v|query|key|value)\}$")

Rules = list[tuple[re.Pattern[str], str]]


def compiled(rules: Iterable[tuple[str, str]]) -> Rules:
    r"""Rules of (pattern, replacement); a pattern fits the beginning of a name, in whole parts.

    A replacement that ends in `.{\1}` where the group is q, k or v (or query, key, value) makes
    the weight a part of a tensor that holds all three.
    """
    return [(re.compile(rf"^{theirs}(?=\.|$)"), ours) for theirs, ours in rules]


def renamed(weights: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Give each weight the name of the first rule that fits it.

    Args:
        weights: by their names.
        rules: see `compiled`.

    Returns:
        The weights; queries, keys and values joined. One that no rule fits keeps its name; one
        whose rule has an empty replacement is left out.
    """
    found: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in weights.items():
        ours = _new_name(name, rules)
        part = _PART.match(ours)
        if part is not None:
            parts.setdefault(part[1], {})[part[2][0]] = value
        elif ours:
            found[ours] = value
    for name, of_one in parts.items():
        found[name] = torch.cat([of_one[letter] for letter in "qkv"])
    return found


class WholeModel(NamedTuple):
    """A model of another library: whether a file holds it, and its weights with our names."""

    is_in: Callable[[Mapping[str, Tensor]], bool]
    convert: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


def by_marks(marks: tuple[str, ...], rules: Iterable[tuple[str, str]]) -> WholeModel:
    """A model whose weights need nothing but our names.

    Args:
        marks: names of weights that are in a file of this model, all of them, and in no other.
        rules: see `compiled`.
    """
    ready = compiled(rules)
    return WholeModel(
        lambda names: all(mark in names for mark in marks),
        lambda weights: renamed(weights, ready),
    )


def _new_name(name: str, rules: Rules) -> str:
    for pattern, ours in rules:
        if pattern.match(name):
            return pattern.sub(ours, name, count=1) if ours else ""
    return name
