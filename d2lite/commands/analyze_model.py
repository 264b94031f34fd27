"""Count parameters, FLOPs and activations of a model.

    d2lite analyze-model --config-file mask_rcnn_R_50_FPN_1x.yaml
    d2lite analyze-model --config-file quick_start.yaml --depth 3 --size 320 320
    d2lite analyze-model output/photos --weights

One image of the given size goes through the model. A FLOP is a multiplication with its addition,
an activation is a number that a convolution or a product of matrices puts out. How many regions a
detector looks at depends on the image and the weights. Without --weights nothing is found, so the
thresholds of scores are set to 0, boxes stay where their anchors are, and the heads work on as many
as the config allows. fvcore does the counting.
"""

import argparse

from d2lite.utils.arguments import SubjectParser, add_config_arguments, add_config_options
from d2lite.utils.errors import ConfigError


def build_parser() -> argparse.ArgumentParser:
    """The options of `d2lite analyze-model`."""
    parser = SubjectParser(description=__doc__)
    parser.add_subject("RUN", "a trained model, instead of --config-file")
    add_config_arguments(parser)
    parser.add_argument("--depth", type=int, default=2, help="names deep to list (default: 2)")
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="pixels of the image (default: INPUT.MIN_SIZE_TEST by 4/3 of it)",
    )
    parser.add_argument(
        "--weights", action="store_true", help="load MODEL.WEIGHTS instead of random weights"
    )
    add_config_options(parser, "opts")
    return parser


def main(args: argparse.Namespace) -> None:
    """Print the table of the model that the command line describes."""
    if not (args.subject or args.config_file or args.opts):
        raise ConfigError("Nothing to analyze: give RUN, or --config-file.")
    from .actions.analyze_model import analyze_model

    analyze_model(args)
