#!/usr/bin/env python
"""`d2lite checkpoint` as a script: python tools/convert_checkpoint.py --help."""

from d2lite.commands import as_script
from d2lite.utils.run_tool import run_tool

main = as_script("checkpoint", __file__)

if __name__ == "__main__":
    run_tool(main)
