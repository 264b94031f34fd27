#!/usr/bin/env python
"""`d2lite export` as a script: python tools/export_model.py --help."""

from d2lite.commands import as_script
from d2lite.utils.run_tool import run_tool

main = as_script("export", __file__)

if __name__ == "__main__":
    run_tool(main)
