#!/usr/bin/env python
"""Check datasets: image files, boxes, masks, ids, classes, and images shared by train and test.

    python tools/check_dataset.py coco:mine/train.json coco:mine/val.json
    python tools/check_dataset.py coco:mine/train.json --fix mine/train_sound.json

Name the training set first, then the test sets, as strings (see docs/datasets.md) or registered
names. Exit status: 0 if nothing is wrong, 1 if there are faults, 2 if a set is not there.
"""

from __future__ import annotations

import argparse
import json
import os

from d2lite.data.checking import check_dataset, cleaned_coco, compare_sets, fault_table
from d2lite.engine import run_tool
from d2lite.utils.errors import ConfigError
from d2lite.utils.file_io import atomic_write
from d2lite.utils.live_line import live_line, on_terminal


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("specs", metavar="SPEC", nargs="+", help="dataset string or name")
    parser.add_argument(
        "--fix", metavar="OUT.json", help="write a copy of the one SPEC without its faults (COCO)"
    )
    parser.add_argument(
        "--masks",
        choices=["polygon", "bitmask"],
        metavar="FORMAT",
        help="check for a model with masks (MODEL.MASK_ON) of this INPUT.MASK_FORMAT: polygon or "
        "bitmask",
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=min(8, os.cpu_count() or 1),
        help="images that are read at a time (%(default)s)",
    )
    return parser.parse_args()


def show_progress(done: int, total: int) -> None:
    """How far it has come, where somebody watches."""
    if on_terminal() and done % 20 == 0:
        live_line.show(f"{done} of {total} images")


def main() -> int:
    """Check all sets, print one table each; returns the exit status."""
    args = parse_args()
    if args.fix and len(args.specs) > 1:
        raise ConfigError("--fix takes one SPEC: each set needs a file of its own.")
    if args.threads < 1:
        raise ConfigError(f"--threads is {args.threads}; it must be 1 or more.")
    sets = []
    for name in args.specs:
        checked = check_dataset(
            name, num_threads=args.threads, progress=show_progress, mask_format=args.masks
        )
        sets.append(checked)
        live_line.finish()
    compare_sets(sets)
    for checked in sets:
        print(fault_table(checked, action="in_copy" if args.fix else "in_training"))
    if args.fix:
        content, root = cleaned_coco(sets[0])
        with atomic_write(args.fix) as file:
            json.dump(content, file)
        counts = f"{len(content['images'])} images, {len(content['annotations'])} objects"
        print(f"Wrote {counts}. Use it as coco:{args.fix}@{root}")
    return int(any(checked.faults.has_faults for checked in sets))


if __name__ == "__main__":
    run_tool(main)
