"""Show what this machine has, and what would stop a training.

    d2lite check
    d2lite check --output-dir /data/runs

System, devices and versions come first, as a report of a problem needs them. Then each limit, with
the fix where one is too low. Exit status: 0 if a training can run, 1 if something would stop it.
"""

import argparse

from d2lite.utils.arguments import CommandParser


def build_parser() -> argparse.ArgumentParser:
    """The options of `d2lite check`."""
    parser = CommandParser(description=__doc__)
    parser.add_argument(
        "--output-dir", default=".", metavar="DIR", help="where trainings write (%(default)s)"
    )
    return parser


def main(args: argparse.Namespace) -> int:
    """Print the report; the exit status says whether a training can run."""
    from .actions.check import check_machine

    return check_machine(args.output_dir)
