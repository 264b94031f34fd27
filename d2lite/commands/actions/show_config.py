"""What `d2lite config` does: print a configuration."""

import argparse

from d2lite.config import PythonRunConfig, get_cfg
from d2lite.config.report import annotated_yaml
from d2lite.engine import setup_cfg
from d2lite.projects import without_unused_project_keys
from d2lite.utils.errors import ConfigError


def show_config(args: argparse.Namespace) -> None:
    """Print the configuration that the command line describes."""
    cfg = setup_cfg(args.config_file, args.opts, args.imports)
    if isinstance(cfg, PythonRunConfig):
        if args.diff:
            raise ConfigError("--diff compares with defaults, and a Python config has none.")
        print(cfg.dump(), end="")
        return
    defaults = setup_cfg(imports=args.imports)
    shown = without_unused_project_keys(cfg, get_cfg())
    print(annotated_yaml(shown, only_diff=args.diff, base=defaults), end="")
