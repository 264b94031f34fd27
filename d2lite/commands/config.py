"""Show a configuration and where its values come from.

    d2lite config photos/ > photos.yaml
    d2lite config --config-file mask_rcnn_R_50_FPN_1x.yaml
    d2lite config --config-file quick_start.yaml --diff SOLVER.BASE_LR 0.01
    d2lite config --config-file ViTDet/COCO/mask_rcnn_vitdet_b_100ep.py

What is printed is YAML that loads back to the same configuration. It has the keys of a project
(projects/...) where the model uses them, so that otherwise a plain get_cfg() reads it.
"""

import argparse

from d2lite.utils.arguments import (
    SubjectParser,
    add_config_arguments,
    add_config_options,
    add_recipe_arguments,
)


def build_parser() -> argparse.ArgumentParser:
    """The options of `d2lite config`."""
    parser = SubjectParser(description=__doc__)
    parser.add_subject("DATA", "your own data: print the config that d2lite train would derive")
    add_recipe_arguments(parser)
    add_config_arguments(parser)
    parser.add_argument(
        "--diff", action="store_true", help="only the values that differ from the defaults"
    )
    add_config_options(parser, "opts")
    return parser


def main(args: argparse.Namespace) -> None:
    """Print the configuration that the command line describes."""
    if args.subject is not None or args.auto:
        from .actions.own_data import config_for_data, recipe_text

        cfg, made = config_for_data(args)
        print(recipe_text(cfg, made, args.imports), end="")
        return
    from .actions.show_config import show_config

    show_config(args)
