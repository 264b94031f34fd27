"""`--resume`, alone or with a file, in front of KEY VALUE pairs."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# As the first KEY of the options looks, which argparse would take for the file of --resume.
_KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)*")


class ToolParser(argparse.ArgumentParser):
    """A parser that knows `--resume KEY VALUE` from `--resume FILE KEY VALUE`."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse, and give back the key that was taken for a file."""
        parsed, rest = super().parse_known_args(args, namespace)
        resume = getattr(parsed, "resume", False)
        is_key = isinstance(resume, str) and _KEY.fullmatch(resume) and not Path(resume).exists()
        if is_key and len(parsed.opts) % 2 == 1:
            parsed.resume, parsed.opts = True, [resume, *parsed.opts]
        return parsed, rest


def add_resume_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--resume [FILE]`.

    Args:
        parser: a `ToolParser` where KEY VALUE pairs come last; changed in place.
    """
    parser.add_argument(
        "--resume",
        nargs="?",
        const=True,
        default=False,
        metavar="FILE",
        help="go on from this checkpoint; alone: from the newest one of OUTPUT_DIR that can be "
        "read, if there is one",
    )
