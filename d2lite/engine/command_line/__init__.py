"""Command lines of the tools: parsers, user code, exit codes."""

from d2lite.utils.arguments import (
    add_config_arguments,
    add_config_options,
    default_argument_parser,
)
from d2lite.utils.run_tool import run_tool

from .setup_cfg import setup_cfg
from .tools import launch_processes, launch_tool
from .user_code import import_user_code

__all__ = [
    "add_config_arguments",
    "add_config_options",
    "default_argument_parser",
    "import_user_code",
    "launch_processes",
    "launch_tool",
    "run_tool",
    "setup_cfg",
]
