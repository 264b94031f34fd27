"""FACE: a whole configuration from facts about the data and the machine."""

from .facts import Facts, Memory, gather_facts
from .naming import TrainAndTest, find_sets
from .recipe import RECIPES, Decision, apply_setting, explain, make_recipe
from .setting import Setting

__all__ = [
    "RECIPES",
    "Decision",
    "Facts",
    "Memory",
    "Setting",
    "TrainAndTest",
    "apply_setting",
    "explain",
    "find_sets",
    "gather_facts",
    "make_recipe",
]
