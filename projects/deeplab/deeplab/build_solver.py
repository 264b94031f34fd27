"""The published address of the function that makes the schedule; the core's knows WarmupPolyLR."""

from d2lite.solver import build_lr_scheduler

__all__ = ["build_lr_scheduler"]
