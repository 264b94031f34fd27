"""Rename detectron2 to d2lite in a project.

    d2lite migrate my_project            # show a diff of what would change
    d2lite migrate my_project --write    # change the files

Python files, notebooks, YAML files and lists of requirements are read. Nothing of the project is
executed. `d2lite run` runs a project without changing it.
"""

import argparse
from pathlib import Path

from d2lite.utils.arguments import HelpFormatter


def build_parser() -> argparse.ArgumentParser:
    """The options of `d2lite migrate`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files or folders")
    parser.add_argument("--write", action="store_true", help="change the files")
    return parser


def main(args: argparse.Namespace) -> int:
    """Show or make the changes."""
    from d2lite.migrate import main as migrate

    return migrate([*map(str, args.paths), *(["--write"] if args.write else [])])
