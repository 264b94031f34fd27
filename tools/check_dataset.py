#!/usr/bin/env python
"""`d2lite data check` as a script: python tools/check_dataset.py --help."""

from d2lite.commands import as_script
from d2lite.utils.run_tool import run_tool

main = as_script("data check", __file__)

if __name__ == "__main__":
    run_tool(main)
