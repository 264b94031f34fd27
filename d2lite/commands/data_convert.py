"""Write datasets in another format, split or merged.

    d2lite data convert photos/ --to coco --output photos_coco
    d2lite data convert voc:cells@trainval --to yolo --output yolo --split train=0.8,val=0.2
    d2lite data convert coco:a.json coco:b.json --to coco --output both

The formats are COCO, Pascal VOC, YOLO, LabelMe and folders of masks. Several datasets are merged,
their classes joined by name; a folder keeps its splits. What the new format cannot hold is
counted; the last lines are the strings that name what was written.
"""

import argparse

from d2lite.utils.arguments import CommandParser

FORMATS = ("coco", "voc", "yolo", "labelme", "masks")
IMAGE_MODES = ("copy", "link")


def build_parser() -> argparse.ArgumentParser:
    """The options of `d2lite data convert`."""
    parser = CommandParser(description=__doc__)
    parser.add_argument("specs", metavar="DATA", nargs="+", help="folder, dataset string or name")
    parser.add_argument("--to", required=True, choices=FORMATS, help="the new format")
    parser.add_argument("--output", required=True, metavar="DIR", help="a new or empty folder")
    parser.add_argument("--classes", metavar="A,B", help="keep these classes only, in this order")
    parser.add_argument(
        "--split", metavar="NAME=SHARE,...", help="split the images, as in train=0.8,val=0.2"
    )
    parser.add_argument("--seed", type=int, default=0, help="draws another split (%(default)s)")
    parser.add_argument(
        "--split-name", default="train", help="without --split, the name of the one (%(default)s)"
    )
    parser.add_argument(
        "--images", choices=IMAGE_MODES, default="copy", help="copy or link them (%(default)s)"
    )
    return parser


def main(args: argparse.Namespace) -> None:
    """Convert, and print what was lost."""
    from .actions.convert_data import convert_data

    convert_data(args)
