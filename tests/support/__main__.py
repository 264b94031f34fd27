"""Write docs/support.md: `python -m tests.support`; with names of models only their rows.

With `--export` first, the table of docs/export.md.
"""

import logging
import sys
import tempfile
import warnings
from pathlib import Path

from .exporting import COLUMNS, export_cells
from .models import MODELS
from .table import EXPORT_PAGE, PAGE, export_page, export_section, page, read
from .trying import cells_of, drawings

if __name__ == "__main__":
    exports, names = "--export" in sys.argv[1:2], sys.argv[1:]
    names = names[1:] if exports else names
    path = EXPORT_PAGE if exports else PAGE
    text = path.read_text(encoding="utf-8")
    rows = read(export_section(text)[1] if exports else text) if names else {}
    with tempfile.TemporaryDirectory() as scratch:
        string = "" if exports else drawings(Path(scratch) / "drawings")
        logging.disable(logging.CRITICAL)
        # torch's own parts warn while they record a graph.
        warnings.simplefilter("ignore")
        for number, name in enumerate(names or MODELS):
            folder = Path(scratch) / str(number)
            rows[name] = export_cells(name, folder) if exports else cells_of(name, string, folder)
            print(name, rows[name], flush=True)
    path.write_text(export_page(text, rows, COLUMNS) if exports else page(rows), encoding="utf-8")
