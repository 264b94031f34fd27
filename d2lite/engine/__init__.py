"""FACE: trainers, hooks, and what a training script needs around them."""

from .amp_trainer import AMPTrainer
from .defaults import (
    DefaultPredictor,
    DefaultTrainer,
    add_config_arguments,
    add_config_options,
    create_ddp_model,
    default_argument_parser,
    default_setup,
    default_writers,
    evaluate_checkpoint,
    import_user_code,
    launch_tool,
    run_tool,
    setup_cfg,
)
from .hooks import (
    AutogradProfiler,
    BestCheckpointer,
    CallbackHook,
    ClassCheckHook,
    EvalHook,
    IterationTimer,
    LRScheduler,
    PeriodicCheckpointer,
    PeriodicWriter,
    PreciseBN,
    TorchMemoryStats,
    TorchProfiler,
)
from .launch import DEFAULT_TIMEOUT, launch
from .simple_trainer import SimpleTrainer
from .trainer_base import HookBase, TrainerBase

__all__ = [
    "DEFAULT_TIMEOUT",
    "AMPTrainer",
    "AutogradProfiler",
    "BestCheckpointer",
    "CallbackHook",
    "ClassCheckHook",
    "DefaultPredictor",
    "DefaultTrainer",
    "EvalHook",
    "HookBase",
    "IterationTimer",
    "LRScheduler",
    "PeriodicCheckpointer",
    "PeriodicWriter",
    "PreciseBN",
    "SimpleTrainer",
    "TorchMemoryStats",
    "TorchProfiler",
    "TrainerBase",
    "add_config_arguments",
    "add_config_options",
    "create_ddp_model",
    "default_argument_parser",
    "default_setup",
    "default_writers",
    "evaluate_checkpoint",
    "import_user_code",
    "launch",
    "launch_tool",
    "run_tool",
    "setup_cfg",
]
