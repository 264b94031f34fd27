"""What a run resumes from, whether it fits, and what has changed since."""

from .checkpoint_peek import class_names_of_weights, facts_of_weights, seed_of_checkpoint
from .resume import describe_stop, load_run
from .run_facts import DRAWING_KEYS, collect_run_facts, names_for_drawing

__all__ = [
    "DRAWING_KEYS",
    "class_names_of_weights",
    "collect_run_facts",
    "describe_stop",
    "facts_of_weights",
    "load_run",
    "names_for_drawing",
    "seed_of_checkpoint",
]
