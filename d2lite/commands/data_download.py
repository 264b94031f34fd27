"""Fetch published datasets.

    d2lite data download coco2017
    d2lite data download voc2007 voc2012 --dir /data
    d2lite data download coco2017 --parts annotations val --mirror http://10.0.0.2/coco

They come into the layout that the configurations expect. A download that broke off goes on where
it was. bccd is a small one (8 MB) for a first try.
"""

import argparse

from d2lite.utils.arguments import CommandParser

PARTS = {
    "coco2017": "train, val, (test), annotations, (test_info)",
    "coco2014": "train, val, (test), annotations, (test_info)",
    "voc2007": "trainval, test",
    "voc2012": "trainval",
    "lvis": "annotations_train, annotations_val, train, val",
    "bccd": "all",
}
"""Dataset -> its parts; in brackets those that are fetched only if they are named."""


def build_parser() -> argparse.ArgumentParser:
    """The options of `d2lite data download`."""
    known = "\n".join(f"  {name}: {parts}" for name, parts in PARTS.items())
    parser = CommandParser(
        description=__doc__,
        epilog=f"datasets and their parts (in brackets: only if named by --parts):\n{known}",
    )
    parser.add_argument("names", metavar="NAME", nargs="+", choices=list(PARTS))
    parser.add_argument(
        "--dir", default="", help="folder of the datasets; by default $D2LITE_DATASETS or datasets/"
    )
    parser.add_argument("--parts", nargs="+", metavar="PART", help="only these parts")
    parser.add_argument(
        "--mirror",
        action="append",
        default=[],
        metavar="URL",
        help="folder of a server that has the archives, tried first; may be given several times",
    )
    parser.add_argument("--keep", action="store_true", help="keep the archives")
    return parser


def main(args: argparse.Namespace) -> None:
    """Fetch all that was named."""
    from .actions.download_data import download_data

    download_data(args)
