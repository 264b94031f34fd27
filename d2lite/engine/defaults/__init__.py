"""FACE: what most training scripts need, built from a config."""

from .cli import launch_tool, run_tool
from .epochs import follow_epochs
from .evaluation import evaluate_checkpoint
from .predictor import DefaultPredictor
from .setup import (
    add_config_arguments,
    add_config_options,
    create_ddp_model,
    default_argument_parser,
    default_setup,
    default_writers,
    setup_cfg,
)
from .trainer import DefaultTrainer
from .user_code import import_user_code

__all__ = [
    "DefaultPredictor",
    "DefaultTrainer",
    "add_config_arguments",
    "add_config_options",
    "create_ddp_model",
    "default_argument_parser",
    "default_setup",
    "default_writers",
    "evaluate_checkpoint",
    "follow_epochs",
    "import_user_code",
    "launch_tool",
    "run_tool",
    "setup_cfg",
]
