"""Evaluate a run, a checkpoint or any configuration.

    d2lite eval output/quick_start
    d2lite eval output/model_0004999.pth DATASETS.TEST "('coco:val.json@photos',)"
    d2lite eval --config-file R50_3x.yaml MODEL.WEIGHTS model.pth

RUN is the folder of a training, whose last checkpoint is evaluated, a checkpoint, which carries its
config, a file of `d2lite export`, or the name of a published model. Results come into inference/ of
the run's folder.
"""

import argparse

from d2lite.utils.arguments import (
    SubjectParser,
    add_config_arguments,
    add_config_options,
    add_ensemble_argument,
    add_process_arguments,
)
from d2lite.utils.errors import ConfigError


def build_parser() -> argparse.ArgumentParser:
    """The options of `d2lite eval`."""
    parser = SubjectParser(description=__doc__)
    parser.add_subject("RUN", "a trained model, instead of --config-file")
    add_ensemble_argument(parser)
    add_config_arguments(parser)
    add_process_arguments(parser)
    add_config_options(parser, "opts")
    return parser


def main(args: argparse.Namespace) -> None:
    """Start one process a device, each of which evaluates its share of the images."""
    from d2lite.engine.command_line import launch_processes

    from .actions.evaluate import evaluate

    if not (args.subject or args.config_file or args.imports or args.opts):
        raise ConfigError("Nothing to evaluate: give RUN, or --config-file.")
    args.eval_only = True
    launch_processes(evaluate, args)
