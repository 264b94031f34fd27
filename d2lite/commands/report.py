"""Write report.html of a run, or compare several runs.

    d2lite report output/quick_start
    d2lite report output/first output/second --output compare.html

RUN is the folder of a training or evaluation (OUTPUT_DIR). With one run the report goes into its
folder; with several the page shows how each differs from the first. See docs/report.md.
"""

import argparse

from d2lite.utils.arguments import CommandParser, add_import_argument


def build_parser() -> argparse.ArgumentParser:
    """The options of `d2lite report`."""
    parser = CommandParser(description=__doc__)
    parser.add_argument("runs", metavar="RUN", nargs="+", help="folder of a run")
    parser.add_argument(
        "--output", metavar="FILE.html", help="where to write (RUN/report.html, or compare.html)"
    )
    parser.add_argument(
        "--errors",
        metavar="FOLDER",
        help="also write a picture of each miss and each false alarm into this folder (one RUN)",
    )
    add_import_argument(parser)
    return parser


def main(args: argparse.Namespace) -> None:
    """Write the page and say where it is."""
    from .actions.report import report

    report(args)
