"""The hooks that come with the engine, and their base class."""

from d2lite.engine.trainer_base import HookBase

from .averaging import WeightAverage, WeightAveraging
from .by_name import HOOK_REGISTRY, build_hooks_by_name
from .callback import CallbackHook
from .checkpointing import BestCheckpointer, PeriodicCheckpointer
from .class_check import ClassCheckHook, describe_class_change
from .early_stopping import EarlyStopping
from .epochs import EpochCounter
from .evaluating import EvalHook
from .learning_rate import LRScheduler
from .precise_bn import PreciseBN, get_training_bn_layers
from .profiling import AutogradProfiler, TorchProfiler
from .start_report import StartReport
from .timing import IterationTimer, TorchMemoryStats
from .unused_weights import UnusedWeightsCheck
from .validation_loss import ValidationLoss, measure_losses, undisturbed_losses
from .writing import PeriodicWriter

__all__ = [
    "HOOK_REGISTRY",
    "AutogradProfiler",
    "BestCheckpointer",
    "CallbackHook",
    "ClassCheckHook",
    "EarlyStopping",
    "EpochCounter",
    "EvalHook",
    "HookBase",
    "IterationTimer",
    "LRScheduler",
    "PeriodicCheckpointer",
    "PeriodicWriter",
    "PreciseBN",
    "StartReport",
    "TorchMemoryStats",
    "TorchProfiler",
    "UnusedWeightsCheck",
    "ValidationLoss",
    "WeightAverage",
    "WeightAveraging",
    "build_hooks_by_name",
    "describe_class_change",
    "get_training_bn_layers",
    "measure_losses",
    "undisturbed_losses",
]
