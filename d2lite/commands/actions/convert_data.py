"""What `d2lite data convert` does: write datasets in another format."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from d2lite.data import DatasetCatalog
from d2lite.data.converting import convert
from d2lite.utils.errors import ConfigError
from d2lite.utils.live_line import live_line
from d2lite.utils.logger import setup_logger

from .check_data import sets_of, show_progress


def read_shares(text: str) -> dict[str, float]:
    """The shares of "train=0.8,val=0.2"."""
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.partition("=")
        try:
            shares[name.strip()] = float(share)
        except ValueError as err:
            raise ConfigError(
                f"--split {text!r}: give NAME=SHARE,..., as train=0.8,val=0.2."
            ) from err
    if not all(name.isidentifier() for name in shares) or len(shares) < len(text.split(",")):
        raise ConfigError(f"--split {text!r}: the names must differ and be letters and digits.")
    return shares


def _sets(specs: Sequence[str]) -> list[str] | dict[str, str]:
    """The sets to convert; of one folder or file alone its splits, by their names."""
    is_path = {s: os.path.exists(s) and s not in DatasetCatalog for s in specs}
    names = [name for s in specs for name in (sets_of(s) if is_path[s] else [s])]
    if len(specs) > 1 or len(names) == 1:
        return names
    return {name.rpartition("@")[2]: name for name in names}


def convert_data(args: argparse.Namespace) -> None:
    """Convert, and print what was lost."""
    setup_logger()
    if not args.split_name.isidentifier():
        raise ConfigError(f"--split-name {args.split_name!r} must be letters and digits.")
    strings, lost = convert(
        _sets(args.specs),
        args.to,
        Path(args.output),
        shares=read_shares(args.split) if args.split else None,
        split_name=args.split_name,
        seed=args.seed,
        classes=[label.strip() for label in args.classes.split(",")] if args.classes else None,
        images=args.images,
        progress=show_progress,
    )
    live_line.finish()
    for what, count in lost.most_common():
        print(f"lost: {count} {what}")
    if not lost:
        print("lost: nothing")
    for name, string in strings.items():
        print(f"{name}: {string}")
