"""FACE: the command `d2lite` and the table of its commands.

A command is a module with a docstring, whose first line is its summary and which shows examples;
`build_parser() -> argparse.ArgumentParser`; and `main(args: argparse.Namespace) -> int | None`,
which returns the exit status. Importing it does not import torch, cv2 or numpy, so that help and
mistakes come at once: what it needs is imported when it runs, or is in `actions/`.
"""

from .program import as_script, main
from .table import COMMANDS

__all__ = ["COMMANDS", "as_script", "main"]
