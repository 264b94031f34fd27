"""FACE: what most training scripts need, built from a config."""

from ..command_line.tools import launch_tool, run_tool
from ..command_line.user_code import import_user_code
from ..derived_config.epochs import follow_epochs
from ..evaluating.evaluate_checkpoint import evaluate_checkpoint
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
