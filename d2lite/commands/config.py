"""Show a configuration and where its values come from.

    d2lite config --config-file mask_rcnn_R_50_FPN_1x.yaml
    d2lite config --config-file quick_start.yaml --diff SOLVER.BASE_LR 0.01
    d2lite config --config-file ViTDet/COCO/mask_rcnn_vitdet_b_100ep.py

What is printed is YAML that loads back to the same configuration. It has the keys of a project
(projects/...) where the model uses them, so that otherwise a plain get_cfg() reads it.
"""

import argparse

from d2lite.utils.arguments import add_config_arguments, add_config_options


def build_parser() -> argparse.ArgumentParser:
    """The options of `d2lite config`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_arguments(parser)
    parser.add_argument(
        "--diff", action="store_true", help="only the values that differ from the defaults"
    )
    add_config_options(parser, "opts")
    return parser


def main(args: argparse.Namespace) -> None:
    """Print the configuration that the command line describes."""
    from .actions.show_config import show_config

    show_config(args)
