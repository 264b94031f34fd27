#!/usr/bin/env python
"""`d2lite analyze-model` as a script: python tools/analyze_model.py --help."""

from d2lite.commands import as_script
from d2lite.utils.run_tool import run_tool

main = as_script("analyze-model", __file__)

if __name__ == "__main__":
    run_tool(main)
