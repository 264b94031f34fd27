"""Write docs/support.md: `python -m tests.support`; with names of models only their rows."""

import logging
import sys
import tempfile
from pathlib import Path

from .models import MODELS
from .table import PAGE, page, read
from .trying import cells_of, drawings

if __name__ == "__main__":
    rows = read(PAGE.read_text(encoding="utf-8")) if len(sys.argv) > 1 else {}
    with tempfile.TemporaryDirectory() as scratch:
        string = drawings(Path(scratch) / "drawings")
        logging.disable(logging.CRITICAL)
        for number, name in enumerate(sys.argv[1:] or MODELS):
            rows[name] = cells_of(name, string, Path(scratch) / str(number))
            print(name, rows[name], flush=True)
    PAGE.write_text(page(rows), encoding="utf-8")
