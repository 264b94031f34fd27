#!/usr/bin/env python
"""`d2lite export` with the words of detectron2's script of this name, which writes model.ts."""

import sys

from d2lite.commands import as_script
from d2lite.utils.run_tool import run_tool


def main() -> int | None:
    """Export; to TorchScript where no format is given."""
    if not any(word.startswith(("--format", "--to", "-h", "--help")) for word in sys.argv[1:]):
        sys.argv[1:1] = ["--format", "torchscript"]
    return as_script("export", __file__)()


if __name__ == "__main__":
    run_tool(main)
