#!/usr/bin/env python
"""Convert datasets: COCO, Pascal VOC, YOLO, LabelMe and folders of masks into each other.

    python tools/convert_dataset.py voc:cells@trainval --to coco --output cells_coco
    python tools/convert_dataset.py auto:mine --to yolo --output mine_yolo \
        --split train=0.8,val=0.2 --seed 1 --classes cat,dog
    python tools/convert_dataset.py coco:a.json coco:b.json --to coco --output both

Several datasets are merged, their classes joined by name. What the new format cannot hold is
counted; at the end stand the strings that name what was written.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from d2lite.data.converting import IMAGE_MODES, WRITERS, convert
from d2lite.engine import run_tool
from d2lite.utils.errors import ConfigError
from d2lite.utils.logger import setup_logger


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("specs", metavar="SPEC", nargs="+", help="dataset string or name")
    parser.add_argument("--to", required=True, choices=list(WRITERS), help="the new format")
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
    return parser.parse_args()


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


def main() -> None:
    """Convert and say what was lost."""
    args = parse_args()
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
    )
    for what, count in lost.most_common():
        print(f"lost: {count} {what}")
    if not lost:
        print("lost: nothing")
    for name, string in strings.items():
        print(f"{name}: {string}")


if __name__ == "__main__":
    run_tool(main)
