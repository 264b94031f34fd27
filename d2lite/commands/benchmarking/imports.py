"""How long a new process takes to import d2lite, and to show its help."""

import subprocess
import sys
import time
from collections.abc import Mapping

from .clock import Side

__all__ = ["help_side", "import_sides"]


def import_sides() -> list[Side]:
    """Make the sides that import d2lite's engine and models, and torch and torchvision alone."""
    ours, theirs = "import d2lite, d2lite.engine, d2lite.model_zoo", "import torch, torchvision"
    return [
        Side("d2lite", lambda: _run("-c", ours)),
        Side("torch and torchvision", lambda: _run("-c", theirs)),
    ]


def help_side() -> Side:
    """Make the side that shows the help of the command."""
    return Side("d2lite --help", lambda: _run("-m", "d2lite", "--help"))


def _run(*words: str) -> Mapping[str, float]:
    started = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    return {"whole": time.perf_counter() - started}
