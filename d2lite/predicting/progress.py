"""Progress: which images of a folder are finished, kept in a file that survives a kill."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from d2lite.utils.errors import OutputError

FILE_NAME = "unfinished.jsonl"


class Progress:
    """A file with one line for each finished image, which is removed at the end.

    The first line holds the options of the prediction; a file of other options is not continued.
    A line that a kill cut off does not count.

    Attributes:
        path: of the file.
        finished: names of the images that need not be predicted again.
    """

    def __init__(self, folder: Path, options: Mapping[str, Any]) -> None:
        """Continue the file of a folder, or begin one.

        Args:
            folder: of the outputs.
            options: plain values that decide about the outputs.

        Raises:
            OutputError: if the file cannot be written.
        """
        self.path = folder / FILE_NAME
        header = json.loads(json.dumps({"options": dict(options)}))
        stamps: dict[str, Any] = {}
        length = 0
        for entry, end in self._entries():
            if not length and entry != header:
                break
            length = end
            if "name" in entry:
                stamps[entry["name"]] = entry["stamp"]
        self.finished = {name for name, stamp in stamps.items() if stamp == stamp_of(name)}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                # Also what a kill left of the last line.
                file.truncate(length)
        except OSError as error:
            raise OutputError(f"--output {folder}: {error.strerror or error}.") from error
        if not length:
            self._write(header)

    def _entries(self) -> Iterator[tuple[dict[str, Any], int]]:
        """Whole lines with the position after each."""
        if not self.path.is_file():
            return
        position = 0
        with self.path.open("rb") as file:
            for line in file:
                position += len(line)
                try:
                    entry = json.loads(line)
                except ValueError:
                    return
                if not line.endswith(b"\n") or not isinstance(entry, dict):
                    return
                yield entry, position

    def add(self, name: str, content: Mapping[str, Any]) -> None:
        """Note an image as finished; its other files are written already.

        Args:
            name: of the image.
            content: plain values to keep for the end.
        """
        self._write({"name": name, "stamp": stamp_of(name), **content})

    def _write(self, entry: Mapping[str, Any]) -> None:
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise OutputError(f"Cannot write {self.path}: {error.strerror or error}.") from error

    def contents(self) -> Iterator[dict[str, Any]]:
        """What was noted of each image, the last time that it was predicted, in their order."""
        last = {entry["name"]: end for entry, end in self._entries() if "name" in entry}
        for entry, end in self._entries():
            if "name" in entry and last[entry["name"]] == end:
                yield entry

    def remove(self) -> None:
        """Remove the file, since all outputs are written."""
        self.path.unlink(missing_ok=True)


def stamp_of(name: str) -> list[int] | None:
    """Size and time of a file, by which a changed one is noticed; None of what is not a file."""
    try:
        status = os.stat(name)
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns]
