"""Train a model: any configuration.

    d2lite train --config-file quick_start.yaml
    d2lite train --config-file R50_3x.yaml --num-gpus 8 SOLVER.BASE_LR 0.01
    d2lite train --config-file output/config.yaml --resume

The file is a path, or the name or part of the name of a file under configs/ and
projects/*/configs/. The KEY VALUE pairs at the end win over what the file says.
"""

import argparse

from d2lite.utils.arguments import default_argument_parser


def build_parser() -> argparse.ArgumentParser:
    """The options of `d2lite train`."""
    return default_argument_parser(__doc__)


def main(args: argparse.Namespace) -> None:
    """Start one process a device, each of which trains."""
    from .actions.train import launch_training

    launch_training(args)
