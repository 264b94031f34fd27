"""Analyze a result file, or compare two of them.

    d2lite analyze --gt val.json --results results.json --images photos/ --output analysis/
    d2lite analyze --gt val.json --results old.json --against new.json

The files are COCO annotations and COCO results (coco_instances_results.json); no model is needed.
A comparison says how far AP differs, in a range from drawing the images again. With --output there
are a page, JSON and CSV files. See docs/report.md.
"""

import argparse

from d2lite.utils.arguments import CommandParser
from d2lite.utils.number_arguments import whole_number


def build_parser() -> argparse.ArgumentParser:
    """The options of `d2lite analyze`."""
    parser = CommandParser(description=__doc__)
    parser.add_argument("--gt", metavar="GT.json", required=True, help="COCO annotations")
    parser.add_argument("--results", metavar="R.json", required=True, help="COCO results")
    parser.add_argument("--against", metavar="R2.json", help="results to compare with --results")
    parser.add_argument(
        "--task",
        choices=["bbox", "segm", "keypoints"],
        help="what to compare (all that the results have)",
    )
    parser.add_argument("--images", metavar="FOLDER", help="of the images, for pictures")
    parser.add_argument("--output", metavar="FOLDER", help="for the page, JSON and CSV")
    parser.add_argument(
        "--errors",
        action="store_true",
        help="also a picture of each miss and false alarm (needs --images and --output)",
    )
    parser.add_argument(
        "--resamples",
        type=whole_number(0),
        metavar="N",
        help="draws of the images for ranges (500, fewer for many detections; 0 for no ranges)",
    )
    return parser


def main(args: argparse.Namespace) -> None:
    """Print the analysis, and write it where --output says."""
    from .actions.analyze import analyze_files

    analyze_files(args)
