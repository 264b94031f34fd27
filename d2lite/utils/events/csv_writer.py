"""CSVWriter: metrics.json as a table."""

import csv
import json
import os
import time
from pathlib import Path

from d2lite.utils.file_io import atomic_write

from .writers import EventWriter

# A long file takes a tenth of a second.
_PERIOD_SECONDS = 60.0


class CSVWriter(EventWriter):
    """A row for each line that a `JSONWriter` before it has written, a column for each name.

    The table is whole at any time, at most a minute old in a run, and complete at its end.
    """

    def __init__(self, csv_file: str | os.PathLike[str], json_file: str | os.PathLike[str]) -> None:
        """Remember the paths."""
        self._csv, self._json = Path(csv_file), Path(json_file)
        self._written_at = float("-inf")

    def write(self) -> None:
        """Write the table, if the last one is a minute old."""
        if time.monotonic() - self._written_at >= _PERIOD_SECONDS:
            self._written_at = time.monotonic()
            self.close()

    def close(self) -> None:
        """Write the table."""
        rows = [json.loads(line) for line in self._json.read_text("utf-8").splitlines()]
        names = {name for row in rows for name in row} - {"iteration"}
        with atomic_write(self._csv) as file:
            table = csv.DictWriter(file, ["iteration", *sorted(names)], lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
