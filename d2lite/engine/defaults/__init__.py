"""FACE: what most training scripts need, built from a config."""

from ..amp_trainer import AMPTrainer
from ..command_line import (
    add_config_arguments,
    add_config_options,
    default_argument_parser,
    import_user_code,
    launch_tool,
    run_tool,
    setup_cfg,
)
from ..derived_config import follow_epochs
from ..simple_trainer import SimpleTrainer
from ..trainer_base import TrainerBase
from .evaluate_checkpoint import evaluate_checkpoint, require_test_sets
from .output_dir import default_writers, local_output_dir
from .predictor import DefaultPredictor
from .setup import _try_get_key, create_ddp_model, default_setup
from .trainer import DefaultTrainer

__all__ = [
    "AMPTrainer",
    "DefaultPredictor",
    "DefaultTrainer",
    "SimpleTrainer",
    "TrainerBase",
    "_try_get_key",
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
    "local_output_dir",
    "require_test_sets",
    "run_tool",
    "setup_cfg",
]
