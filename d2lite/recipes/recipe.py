"""make_recipe: let each rule decide in turn, and leave to the user what the user has set."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from d2lite.config import CfgNode

from . import data_rules, model_rules, schedule_rules
from .facts import Facts
from .keys import Keys
from .setting import Setting

Rule = Callable[[Facts, Keys, str], Setting | None]

# Recipe -> the config whose values hold where no rule decides.
RECIPES = {
    "fast": "quick_start.yaml",
    "balanced": "quick_start.yaml",
    "accurate": "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml",
}

# In the order in which they need each other's decisions.
_MODEL_RULES: tuple[Rule, ...] = (data_rules.task, model_rules.model_size)
_RULES: tuple[Rule, ...] = (
    data_rules.image_size,
    data_rules.augmentation,
    data_rules.repeats,
    data_rules.workers,
    model_rules.anchors,
    schedule_rules.batch,
    schedule_rules.iterations,
    schedule_rules.periods,
    schedule_rules.rate,
    schedule_rules.averaging,
    schedule_rules.evaluation,
)


class Decision(NamedTuple):
    """A setting, and what the user has set of it.

    Attributes:
        setting: of a rule.
        kept: keys that stay as they are.
    """

    setting: Setting
    kept: list[str]


def make_recipe(
    cfg: CfgNode,
    facts: Facts,
    recipe: str,
    *,
    pinned: Sequence[str] = (),
    has_model: bool = False,
) -> list[Decision]:
    """Derive the configuration of a run from facts.

    Args:
        cfg: the base of the recipe, or the user's config; changed in place.
        facts: about the training data and the machine.
        recipe: "fast", "balanced" or "accurate".
        pinned: keys that the user has set, which stay.
        has_model: the model is the user's: no rule about it is asked.

    Returns:
        The settings in the order of the rules, each with those of its keys that stay as they are.
    """
    keys, made = Keys(cfg), []
    for rule in (*(() if has_model else _MODEL_RULES), *_RULES):
        # Published weights know their anchors, and not every model has any.
        if rule is model_rules.anchors and (has_model or recipe == "accurate"):
            continue
        setting = rule(facts, keys, recipe)
        if setting is not None:
            made.append(apply_setting(cfg, setting, pinned))
    return made


def apply_setting(cfg: CfgNode, setting: Setting, pinned: Sequence[str]) -> Decision:
    """Set the keys of a setting that the user has not set.

    Args:
        cfg: changed in place.
        setting: of a rule.
        pinned: keys that stay.
    """
    for key, value in setting.keys.items():
        if key not in pinned:
            cfg.derive(key, value, f"rule {setting.name!r}")
    return Decision(setting, [key for key in setting.keys if key in pinned])


def explain(made: Sequence[Decision]) -> str:
    """One line a rule: value, evidence, and how to pin it; or what the user has set."""
    lines = []
    for setting, kept in made:
        if next(iter(setting.keys)) in kept:
            lines.append(f"{setting.name}: as you have set it ({', '.join(kept)})")
        else:
            also = f" ({', '.join(kept)}: as you have set it)" if kept else ""
            lines.append(setting.line() + also)
    return "\n".join(lines)
