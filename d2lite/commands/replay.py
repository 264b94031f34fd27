"""Load a batch again whose losses were not finite.

    d2lite replay output/blow_up_0001234.json
    d2lite replay output/blow_up_0001234.json --weights output/model_0000999.pth

The training writes the report into its OUTPUT_DIR. The images are drawn as the model saw them,
and the losses are computed for the batch and for each image alone.
"""

import argparse
from pathlib import Path

from d2lite.utils.arguments import IntermixedParser, add_config_options, add_import_argument


def build_parser() -> argparse.ArgumentParser:
    """The options of `d2lite replay`."""
    parser = IntermixedParser(description=__doc__)
    parser.add_argument("report", type=Path, help="blow_up_ITERATION.json")
    parser.add_argument(
        "--config-file", default="", help="config of the run (config.yaml beside the report)"
    )
    add_import_argument(parser)
    parser.add_argument(
        "--weights", default="", help="checkpoint to compute with (that of the report)"
    )
    parser.add_argument(
        "--output", default="", metavar="DIR", help="for the pictures (that of the report)"
    )
    add_config_options(parser, "--opts")
    return parser


def main(args: argparse.Namespace) -> None:
    """Draw the batch and measure its losses."""
    from .actions.replay import replay

    replay(args)
