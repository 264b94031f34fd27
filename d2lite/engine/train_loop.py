"""FACE: the old address of the trainers and the base of hooks."""

from .amp_trainer import AMPTrainer
from .simple_trainer import SimpleTrainer
from .trainer_base import HookBase, TrainerBase

__all__ = ["AMPTrainer", "HookBase", "SimpleTrainer", "TrainerBase"]
