"""Train a model: any configuration, or your own photographs.

    d2lite train photos/
    d2lite train photos/ --recipe accurate SOLVER.MAX_ITER 3000
    d2lite train --config-file R50_3x.yaml --num-gpus 8 SOLVER.BASE_LR 0.01
    d2lite train --config-file output/config.yaml --resume

DATA is a folder that a labelling tool exported, or a dataset string. The configuration then follows
from it: each rule prints its value, the reason, and the key that sets it otherwise; the whole is
written to recipe.yaml in the output folder. KEY VALUE pairs at the end win over rules and file.
"""

import argparse

from d2lite.utils.arguments import (
    SubjectParser,
    add_config_options,
    add_recipe_arguments,
    add_training_arguments,
)
from d2lite.utils.errors import ConfigError


def build_parser() -> argparse.ArgumentParser:
    """The options of `d2lite train`."""
    parser = SubjectParser(description=__doc__)
    parser.add_subject("DATA", "your own data, with or without --config-file")
    add_recipe_arguments(parser)
    add_training_arguments(parser)
    add_config_options(parser, "opts")
    return parser


def main(args: argparse.Namespace) -> None:
    """Start one process a device, each of which trains."""
    from d2lite.engine.command_line import launch_processes

    from .actions.train import train_or_evaluate

    if not (args.subject or args.config_file or args.auto or args.imports or args.opts):
        raise ConfigError("Nothing to train: give DATA, the folder of your data, or --config-file.")
    if args.subject is not None or args.auto:
        from .actions.own_data import follow_data

        follow_data(args)
    launch_processes(train_or_evaluate, args)
