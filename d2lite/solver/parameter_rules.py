"""Rates and weight decay by the names of parameters: SOLVER.LAYER_DECAY and SOLVER.PARAM_GROUPS."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import nn

from d2lite.config import CfgNode
from d2lite.utils.errors import ConfigError

__all__ = ["NameRule", "layer_decay_rates", "name_rules"]

_logger = logging.getLogger(__name__)

_BLOCK = re.compile(
    r"(?P<net>backbone\..*?)(?P<stage>(?:stages|layers)\.\d+\.)?blocks\.(?P<block>\d+)\."
)


class NameRule(NamedTuple):
    """What the name of a parameter says about it."""

    lr_factor: float
    """Multiplies the learning rate."""
    weight_decay: float | None
    """Replaces the weight decay; None leaves it."""


def name_rules(cfg: CfgNode, model: nn.Module) -> dict[str, NameRule]:
    """What SOLVER.LAYER_DECAY and SOLVER.PARAM_GROUPS say about each parameter; written to the log.

    Args:
        cfg: the whole configuration.
        model: whose parameters they are.

    Returns:
        By the full names of all parameters; empty if both keys have their defaults.

    Raises:
        ConfigError: for a value that cannot be used, or an expression that no name fits.
    """
    decay, groups = cfg.SOLVER.LAYER_DECAY, cfg.SOLVER.PARAM_GROUPS
    if decay == 1.0 and not len(groups):
        return {}
    names = [name for name, _ in model.named_parameters()]
    rates = layer_decay_rates(names, decay) if decay != 1.0 else dict.fromkeys(names, 1.0)
    rules = {name: NameRule(rate, None) for name, rate in rates.items()}
    for pattern, factor, weight_decay in map(_checked, groups):
        fitting = [name for name in names if pattern.search(name)]
        if not fitting:
            raise ConfigError(
                f"SOLVER.PARAM_GROUPS: no parameter fits {pattern.pattern!r}. Their names begin "
                f"with {', '.join(sorted({name.split('.')[0] for name in names}))}; "
                "`d2lite analyze-model --depth 9` lists all."
            )
        for name in fitting:
            rate, own = rules[name]
            rules[name] = NameRule(rate * factor, own if weight_decay is None else weight_decay)
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    _logger.info("%s", _table({k: v for k, v in rules.items() if k in learning}))
    return rules


def layer_decay_rates(names: Iterable[str], decay: float) -> dict[str, float]:
    """Factors of the learning rate that fall from block to block towards the image.

    Args:
        names: full names of parameters in the order of the model. Blocks are found by "blocks.N"
            under "backbone", also in "layers.N" or "stages.N": ViT, MViT, Swin, ConvNeXt.
        decay: factor from one block to the one before, in (0, 1].

    Returns:
        By name: `decay` to the power of one plus the number of later blocks. What comes before the
        first block (patches, positions, stem) is one lower than that block. What a stage has beside
        its blocks goes with the nearest one. Final norms, convolutional residual blocks, pyramids
        and heads have 1.

    Raises:
        ConfigError: if no name has blocks, or for another decay.

    Source: Clark 2020, arXiv:2003.10555; Bao 2021, arXiv:2106.08254.
    """
    if not 0.0 < decay <= 1.0:
        raise ConfigError(f"SOLVER.LAYER_DECAY is {decay}; it must be in (0, 1].")
    names = list(names)
    matches = {name: match for name in names if (match := _BLOCK.match(name))}
    if not matches:
        raise ConfigError(
            "SOLVER.LAYER_DECAY needs a backbone whose parameters are named by blocks: ViT, Swin, "
            "MViT, and such networks of timm (ConvNeXt, Swin ...). Set it to 1.0 for others."
        )
    net = next(iter(matches.values()))["net"]
    numbers: dict[str, int] = {}
    for match in matches.values():
        numbers.setdefault(match[0], len(numbers) + 1)
    layers = dict.fromkeys(names, len(numbers) + 1)
    before_first = True
    for i, name in enumerate(names):
        if name in matches:
            before_first = False
            if ".residual." not in name:
                layers[name] = numbers[matches[name][0]]
        elif name.startswith(net) and before_first:
            layers[name] = 0
        elif re.match(rf"{re.escape(net)}(?:stages|layers)\.\d+\.", name):
            layers[name] = _of_nearest_block(name, names[i:], names[:i], numbers, matches)
    return {name: decay ** (len(numbers) + 1 - layer) for name, layer in layers.items()}


def _of_nearest_block(
    name: str,
    later: Sequence[str],
    earlier: Sequence[str],
    numbers: Mapping[str, int],
    matches: Mapping[str, re.Match[str]],
) -> int:
    """The number of the next block in the stage of a name, else of the last one before."""
    stage = re.match(r".*?(?:stages|layers)\.\d+\.", name)
    for other in [*later, *reversed(earlier)]:
        if other in matches and stage and other.startswith(stage[0]):
            return numbers[matches[other][0]]
    return len(numbers) + 1


def _checked(group: Any) -> tuple[re.Pattern[str], float, float | None]:
    form = (
        f"SOLVER.PARAM_GROUPS has {group!r}; each entry is [expression, factor of the rate, weight "
        'decay or None], as in ["backbone", 0.1, None]'
    )
    if not isinstance(group, Sequence) or isinstance(group, str) or len(group) != 3:
        raise ConfigError(f"{form}.")
    pattern, factor, weight_decay = group
    numbers = [factor] if weight_decay is None else [factor, weight_decay]
    if any(isinstance(n, bool) or not isinstance(n, int | float) or n < 0 for n in numbers):
        raise ConfigError(f"{form}; factors and weight decays are numbers from 0.")
    try:
        return re.compile(str(pattern)), float(factor), weight_decay
    except re.error as err:
        raise ConfigError(f"{form}; {pattern!r} is not a regular expression: {err}.") from err


def _table(rules: Mapping[str, NameRule]) -> str:
    """A line for each kind of parameter: its rate, its weight decay, how many, and the first."""
    kinds: dict[NameRule, list[str]] = {}
    for name, rule in rules.items():
        kinds.setdefault(rule, []).append(name)
    lines = ["Rates over SOLVER.BASE_LR by SOLVER.LAYER_DECAY and SOLVER.PARAM_GROUPS:"]
    for rule, names in sorted(kinds.items(), key=lambda kind: kind[0].lr_factor):
        decay = "" if rule.weight_decay is None else f", weight decay {rule.weight_decay:g}"
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        lines.append(f"  {rule.lr_factor:.4g}{decay}: {names[0]}{more}")
    return "\n".join(lines)
