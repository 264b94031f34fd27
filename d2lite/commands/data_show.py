"""Draw a dataset as annotated, or as the model sees it.

    d2lite data show photos/
    d2lite data show photos/ --source dataloader
    d2lite data show --config-file quick_start.yaml --source dataloader --num-images 20

"dataloader" shows what the model sees: resized, flipped and cropped, with the boxes, masks and
keypoints that came out of the augmentation; without a config, as d2lite train DATA would do it.
"""

import argparse

from d2lite.utils.arguments import SubjectParser, add_config_arguments, add_config_options
from d2lite.utils.number_arguments import whole_number


def build_parser() -> argparse.ArgumentParser:
    """The options of `d2lite data show`."""
    parser = SubjectParser(description=__doc__)
    parser.add_subject("DATA", "folder, with all its splits, dataset string or name")
    parser.add_argument(
        "--source",
        choices=["annotation", "dataloader"],
        default="annotation",
        help="what to draw (%(default)s)",
    )
    add_config_arguments(parser)
    parser.add_argument(
        "--output",
        "--output-dir",
        default="visualized",
        metavar="DIR",
        help="folder for the drawings (%(default)s)",
    )
    parser.add_argument(
        "--num-images",
        type=whole_number(0),
        default=50,
        metavar="N",
        help="0 for all (%(default)s)",
    )
    add_config_options(parser, "opts")
    return parser


def main(args: argparse.Namespace) -> None:
    """Write one drawing for each image."""
    from .actions.show_data import show_data

    show_data(args)
