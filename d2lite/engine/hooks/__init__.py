"""FACE: the hooks that come with the engine."""

from .callback import CallbackHook
from .checkpointing import BestCheckpointer, PeriodicCheckpointer
from .class_check import ClassCheckHook, describe_class_change
from .evaluating import EvalHook
from .learning_rate import LRScheduler
from .precise_bn import PreciseBN, get_training_bn_layers
from .profiling import AutogradProfiler, TorchProfiler
from .timing import IterationTimer, TorchMemoryStats
from .writing import PeriodicWriter

__all__ = [
    "AutogradProfiler",
    "BestCheckpointer",
    "CallbackHook",
    "ClassCheckHook",
    "EvalHook",
    "IterationTimer",
    "LRScheduler",
    "PeriodicCheckpointer",
    "PeriodicWriter",
    "PreciseBN",
    "TorchMemoryStats",
    "TorchProfiler",
    "describe_class_change",
    "get_training_bn_layers",
]
