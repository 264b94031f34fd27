"""Look for faults in datasets.

    d2lite data check photos/
    d2lite data check coco:mine/train.json coco:mine/val.json
    d2lite data check coco:mine/train.json --fix mine/train_fixed.json

Image files, boxes, masks, ids and classes are checked, and whether train and test share images.
DATA is a folder, which is checked with all its splits, or a training set and then test sets, as
strings (see docs/datasets.md) or registered names. Exit status: 0 if nothing is wrong, 1 if there
are faults, 2 if a set is not there.
"""

import argparse

from d2lite.utils.arguments import CommandParser
from d2lite.utils.cores import usable_cores
from d2lite.utils.number_arguments import whole_number


def build_parser() -> argparse.ArgumentParser:
    """The options of `d2lite data check`."""
    parser = CommandParser(description=__doc__)
    parser.add_argument("specs", metavar="DATA", nargs="+", help="folder, dataset string or name")
    parser.add_argument(
        "--fix", metavar="OUT.json", help="of one DATA: write a copy without its faults (COCO)"
    )
    parser.add_argument(
        "--masks",
        choices=["polygon", "bitmask"],
        metavar="FORMAT",
        help="check for a model with masks (MODEL.MASK_ON) of this INPUT.MASK_FORMAT: polygon or "
        "bitmask",
    )
    parser.add_argument(
        "--threads",
        type=whole_number(1),
        default=min(8, usable_cores()),
        help="images that are read at once (%(default)s)",
    )
    return parser


def main(args: argparse.Namespace) -> int:
    """Print a table for each set; the exit status says whether something is wrong."""
    from .actions.check_data import check_data

    return check_data(args)
