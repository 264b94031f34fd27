"""Giving each parameter of a model the weight of a foreign file whose name fits best."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence

import torch

from d2lite.utils.errors import WeightsError

from .foreign import convert_basic_c2_names, convert_c2_detectron_names

__all__ = [
    "align_and_update_state_dicts",
    "convert_basic_c2_names",
    "convert_c2_detectron_names",
]


def align_and_update_state_dicts(
    model_state_dict: Mapping[str, torch.Tensor],
    ckpt_state_dict: Mapping[str, torch.Tensor],
    c2_conversion: bool = True,
) -> dict[str, torch.Tensor]:
    """Rename the weights of a backbone to the names they have inside a model.

    A weight fits a parameter if its name is the parameter's, or the end of it after a dot; of
    several, the longest wins. Where one weight fits several parameters, the one of its shape is
    meant; of two of that shape, the one in the module that most other weights go to; two of
    equal rank are an error.

    Args:
        model_state_dict: the model's names and tensors.
        ckpt_state_dict: the file's names and tensors.
        c2_conversion: whether the file has Caffe2's names.

    Returns:
        The file's tensors: under the model's names where they fit, else under their own.

    Raises:
        WeightsError: if one weight fits several parameters equally, in shape too.
    """
    weights = dict(ckpt_state_dict)
    if c2_conversion:
        weights, _ = convert_c2_detectron_names(weights)
    fitting: dict[str, list[str]] = {}
    for name in model_state_dict:
        source = _longest_ending(name, weights)
        if source is not None:
            fitting.setdefault(source, []).append(name)
    modules = Counter(n.removesuffix(source) for source, names in fitting.items() for n in names)
    taken = {}
    for source, names in fitting.items():
        shape = weights[source].shape
        same = [n for n in names if model_state_dict[n].shape == shape]
        if len(same) > 1:
            same.sort(key=lambda n: -modules[n.removesuffix(source)])
        if len(same) > 1 and len({modules[n.removesuffix(source)] for n in same[:2]}) == 1:
            raise WeightsError(
                f"The weight {source!r} fits both {same[0]!r} and {same[1]!r}; give the file's "
                "weights the model's full names."
            )
        if same or len(names) == 1:
            # One that fits by name alone is reported with both shapes.
            taken[source] = (same or names)[0]
    return {taken.get(source, source): value for source, value in weights.items()}


def _longest_ending(name: str, known: Mapping[str, object]) -> str | None:
    """The longest of `known` that `name` ends in, cut at dots."""
    parts = name.split(".")
    endings = (".".join(parts[start:]) for start in range(len(parts)))
    return next((ending for ending in endings if ending in known), None)


def _longest_common_prefix_str(names: Sequence[str]) -> str:
    """What all names begin with."""
    first, last = min(names), max(names)
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return "".join(letter for letter, _ in same)


def _longest_common_prefix(names: Sequence[str]) -> str:
    """What all dotted names begin with, up to and with a dot: "abc." of abc.x1 and abc.x2."""
    common = _longest_common_prefix_str(names)
    return common[: common.rfind(".") + 1]
