"""Progress: which images of a folder are finished, kept in files that survive a kill."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from d2lite.utils.errors import OutputError

FILE_NAME = "unfinished.jsonl"
_STEM, _, _SUFFIX = FILE_NAME.partition(".")


class Progress:
    """A file with one line for each finished image, which is removed at the end.

    The first line holds the options of the prediction; a file of other options is not continued.
    A line that a kill cut off does not count. Where several processes predict into a folder each
    has a file of its own, and reads those of the others.

    Attributes:
        path: of the file.
        finished: names of the images that need not be predicted again.
    """

    def __init__(self, folder: Path, options: Mapping[str, Any], *, process: int = 0) -> None:
        """Continue the file of a folder, or begin one.

        Args:
            folder: of the outputs.
            options: plain values that decide about the outputs.
            process: number of this process among those that predict into the folder.

        Raises:
            OutputError: if the file cannot be written.
        """
        self.path = folder / (f"{_STEM}.{process}.{_SUFFIX}" if process else FILE_NAME)
        self._header = json.loads(json.dumps({"options": dict(options)}))
        self.finished: set[str] = set()
        length = 0
        for path, entry, _, end in self._entries():
            if path == self.path:
                length = end
            if "name" in entry and entry["stamp"] == stamp_of(entry["name"]):
                self.finished.add(entry["name"])
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                # Also what a kill left of the last line.
                file.truncate(length)
        except OSError as error:
            raise OutputError(f"--output {folder}: {error.strerror or error}.") from error
        if not length:
            self._write(self._header)

    def _files(self) -> list[Path]:
        return sorted(self.path.parent.glob(f"{_STEM}*.{_SUFFIX}"))

    def _entries(self) -> Iterator[tuple[Path, dict[str, Any], int, int]]:
        """File, content, begin and end of each whole line in the files of these options."""
        for path in self._files():
            end = 0
            with path.open("rb") as file:
                for line in file:
                    begin, end = end, end + len(line)
                    try:
                        entry = json.loads(line)
                    except ValueError:
                        break
                    if not line.endswith(b"\n") or not isinstance(entry, dict):
                        break
                    if not begin and entry != self._header:
                        break
                    yield path, entry, begin, end

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

    def contents(self, names: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
        """What was noted of each image, the last time that it was predicted.

        Args:
            names: the order; images that are not among them come last.
        """
        place: dict[str, tuple[Path, int]] = {}
        for path, entry, begin, _ in self._entries():
            name = entry.get("name")
            # Of an image that changed, other processes may have noted the state of before.
            if name is not None and (name not in place or entry["stamp"] == stamp_of(name)):
                place[name] = path, begin
        order = {name: number for number, name in enumerate(names)}
        with ExitStack() as opened:
            files = {path: opened.enter_context(path.open("rb")) for path in self._files()}
            for name in sorted(place, key=lambda name: order.get(name, len(order))):
                path, begin = place[name]
                files[path].seek(begin)
                yield json.loads(files[path].readline())

    def remove(self) -> None:
        """Remove the files of all processes, since all outputs are written."""
        for path in self._files():
            path.unlink(missing_ok=True)


def stamp_of(name: str) -> list[int] | None:
    """Size and time of a file, by which a changed one is noticed; None of what is not a file."""
    try:
        status = os.stat(name)
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns]
