"""Checkpoints: saving and loading models together with the state of a run."""

from . import catalog
from .checkpointer import Checkpointer
from .detection_checkpoint import DetectionCheckpointer
from .matching import LoadReport
from .periodic import PeriodicCheckpointer

__all__ = [
    "Checkpointer",
    "DetectionCheckpointer",
    "LoadReport",
    "PeriodicCheckpointer",
    "catalog",
]
