"""FACE: what most training scripts need, built from a config."""

from .cli import run_tool
from .evaluation import evaluate_checkpoint
from .predictor import DefaultPredictor
from .setup import (
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
    "create_ddp_model",
    "default_argument_parser",
    "default_setup",
    "default_writers",
    "evaluate_checkpoint",
    "import_user_code",
    "run_tool",
    "setup_cfg",
]
