#!/usr/bin/env python
"""Fetch published datasets into the layout that the configurations expect.

    python tools/download_dataset.py coco2017
    python tools/download_dataset.py voc2007 voc2012 --dir /data
    python tools/download_dataset.py coco2017 --parts annotations val --mirror http://10.0.0.2/coco

A download that broke off goes on where it was. bccd is a small one (8 MB) for a first try.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from d2lite.data.datasets.location import datasets_root
from d2lite.data.datasets.published import PUBLISHED, fetch_dataset
from d2lite.engine import run_tool
from d2lite.utils.logger import setup_logger


def parse_args() -> argparse.Namespace:
    """The command line."""
    known = "\n".join(
        f"  {name}: {', '.join(p if p in one.default else f'({p})' for p in one.parts)}"
        for name, one in PUBLISHED.items()
    )
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"datasets and their parts (in brackets: only if named by --parts):\n{known}",
    )
    parser.add_argument("names", metavar="NAME", nargs="+", choices=list(PUBLISHED))
    parser.add_argument(
        "--dir",
        default=datasets_root(),
        help="folder of the datasets; by default $D2LITE_DATASETS, now %(default)s",
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
    return parser.parse_args()


def main() -> None:
    """Fetch all that was named."""
    args = parse_args()
    setup_logger()
    root = Path(args.dir).expanduser()
    for name in args.names:
        fetch_dataset(
            PUBLISHED[name], root, parts=args.parts, mirrors=args.mirror, keep_archives=args.keep
        )
        print(f"{name} is in {root}. Use it as {PUBLISHED[name].use}.")
    if root.resolve() != Path(datasets_root()).resolve():
        print(f"Set D2LITE_DATASETS to {root.resolve()}.")


if __name__ == "__main__":
    run_tool(main)
