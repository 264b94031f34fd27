"""The published address of the schedule."""

from d2lite.solver import WarmupPolyLR

__all__ = ["WarmupPolyLR"]
