"""Write docs/support.md: `python -m tests.support`; some 20 minutes."""

import logging
import tempfile
from pathlib import Path

from .models import MODELS
from .table import PAGE, page
from .trying import cells_of, drawings

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        string = drawings(Path(scratch) / "drawings")
        logging.disable(logging.CRITICAL)
        rows = {}
        for number, name in enumerate(MODELS):
            rows[name] = cells_of(name, string, Path(scratch) / str(number))
            print(name, rows[name], flush=True)
    PAGE.write_text(page(rows), encoding="utf-8")
