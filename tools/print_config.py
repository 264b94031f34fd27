#!/usr/bin/env python
"""Show a configuration, and where each of its values comes from.

    python tools/print_config.py --config-file mask_rcnn_R_50_FPN_1x.yaml
    python tools/print_config.py --config-file quick_start.yaml --diff SOLVER.BASE_LR 0.01
    python tools/print_config.py --config-file ViTDet/COCO/mask_rcnn_vitdet_b_100ep.py

What is printed is YAML that loads back to the same configuration. It has the keys of a project
(projects/...) where the model uses them, so that otherwise a plain get_cfg() reads it.
"""

from __future__ import annotations

import argparse

from d2lite.config import PythonRunConfig, get_cfg
from d2lite.config.report import annotated_yaml
from d2lite.engine import add_config_arguments, add_config_options, run_tool, setup_cfg
from d2lite.projects import without_unused_project_keys
from d2lite.utils.errors import ConfigError


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_arguments(parser)
    parser.add_argument(
        "--diff", action="store_true", help="only the values that differ from the defaults"
    )
    add_config_options(parser, "opts")
    return parser.parse_args()


def main() -> None:
    """Print the configuration that the command line describes."""
    args = parse_args()
    cfg = setup_cfg(args.config_file, args.opts, args.imports)
    if isinstance(cfg, PythonRunConfig):
        if args.diff:
            raise ConfigError("--diff compares with defaults, and a Python config has none.")
        print(cfg.dump(), end="")
        return
    defaults = setup_cfg(imports=args.imports)
    shown = without_unused_project_keys(cfg, get_cfg())
    print(annotated_yaml(shown, only_diff=args.diff, base=defaults), end="")


if __name__ == "__main__":
    run_tool(main)
