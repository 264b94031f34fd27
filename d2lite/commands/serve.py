"""Serve a model: a page to drop photographs on, and an HTTP route.

    d2lite serve output/quick_start
    d2lite serve model_final.pth --host 0.0.0.0 --port 8080 --threshold 0.7

RUN is a checkpoint, the folder of a training, a config or the name of a published model. POST an
image to /predict and get JSON; /health and /openapi.json describe the server. There is no
password: whoever reaches the address can use the model. See docs/serving.md.
"""

import argparse

from d2lite.utils.arguments import (
    IntermixedParser,
    add_config_options,
    add_import_argument,
    add_predicting_arguments,
)
from d2lite.utils.number_arguments import positive_number, whole_number


def build_parser() -> argparse.ArgumentParser:
    """The options of `d2lite serve`."""
    parser = IntermixedParser(description=__doc__)
    parser.add_argument("run", metavar="RUN", help="checkpoint, run, config or published name")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one (%(default)s)")
    add_predicting_arguments(parser)
    parser.add_argument(
        "--queue",
        type=whole_number(1),
        default=256,
        metavar="N",
        help="requests at a time (%(default)s)",
    )
    parser.add_argument(
        "--max-mb", type=positive_number, default=20, help="largest file in megabytes (%(default)s)"
    )
    parser.add_argument(
        "--max-megapixels",
        type=positive_number,
        default=50,
        metavar="MP",
        help="largest image (%(default)s)",
    )
    add_import_argument(parser)
    add_config_options(parser, "--opts")
    return parser


def main(args: argparse.Namespace) -> None:
    """Serve until the program is stopped."""
    from .actions.serve import serve

    serve(args)
