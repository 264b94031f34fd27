"""What `d2lite data convert` does: write datasets in another format."""

import argparse
from pathlib import Path

from d2lite.data.converting import convert
from d2lite.utils.errors import ConfigError
from d2lite.utils.live_line import live_line
from d2lite.utils.logger import setup_logger

from .check_data import show_progress


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


def convert_data(args: argparse.Namespace) -> None:
    """Convert, and print what was lost."""
    setup_logger()
    if not args.split_name.isidentifier():
        raise ConfigError(f"--split-name {args.split_name!r} must be letters and digits.")
    strings, lost = convert(
        args.specs,
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
