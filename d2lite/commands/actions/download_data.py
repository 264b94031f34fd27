"""What `d2lite data download` does: fetch published datasets."""

import argparse
from pathlib import Path

from d2lite.data.datasets.location import datasets_root
from d2lite.data.datasets.published import PUBLISHED, fetch_dataset
from d2lite.utils.logger import setup_logger


def download_data(args: argparse.Namespace) -> None:
    """Fetch all that was named."""
    setup_logger()
    root = Path(args.dir or datasets_root()).expanduser()
    for name in args.names:
        fetch_dataset(
            PUBLISHED[name], root, parts=args.parts, mirrors=args.mirror, keep_archives=args.keep
        )
        print(f"{name} is in {root}. Use it as {PUBLISHED[name].use}.")
    if root.resolve() != Path(datasets_root()).resolve():
        print(f"Set D2LITE_DATASETS to {root.resolve()}.")
