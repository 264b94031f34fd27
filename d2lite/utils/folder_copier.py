"""The changes of a run's folder, copied to an object store, and its newest checkpoint fetched.

`python -m d2lite.utils.folder_copier FOLDER ADDRESS` copies what is new, every half minute and at
the end of its standard input. It is a process of its own, so that a training does not wait for the
store, and that what a killed run has written is still sent; and it needs no torch.
"""

import json
import logging
import os
import queue
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from .file_io import write_file
from .object_store import get_file, patiently, store_of

__all__ = ["PERIOD_S", "Copier", "fetch_newest"]

logger = logging.getLogger(__name__)

PERIOD_S = 30.0
# Names the newest checkpoint: copied after the file that it names, and fetched after it.
_MARK = "last_checkpoint"
# What was copied: name -> [time of change in ns, bytes]; of the mark its text.
_RECORD = ".copied.json"
_NOT_COPIED = ("run.lock",)
_CHECKPOINTS = (".pth",)
# Smaller files may grow while they are copied, as logs do, and are copied as they are at one time.
_WHOLE_BYTES = 64 * 2**20


class Copier:
    """Knows what of a folder is at an address already.

    Args:
        folder: local.
        address: without a slash at its end.
    """

    def __init__(self, folder: Path, address: str) -> None:
        self._folder, self._address = folder, address
        self._copied = _read_record(folder)
        self._seen: set[str] = set()

    def copy_changes(self) -> None:
        """Copy what is new, and remove there what was removed here.

        Raises:
            MissingFileError: if the store keeps failing; what was copied so far is noted.
        """
        # Before the list: what is named now was complete then.
        mark = _read(self._folder / _MARK)
        found = {
            path.relative_to(self._folder).as_posix(): path
            for path in self._folder.rglob("*")
            if path.is_file() and not path.name.startswith(".") and path.name not in _NOT_COPIED
        }
        found.pop(_MARK, None)
        try:
            for name in sorted(found):
                self._copy(name, found[name])
            if mark is not None and mark != self._copied.get(_MARK):
                self._put(_MARK, mark.encode())
                self._copied[_MARK] = mark
            # What was removed before this run stays there: somebody made room here.
            for name in self._seen - found.keys():
                self._remove(name)
            self._seen = set(found)
        finally:
            _write_record(self._folder, self._copied)

    def _copy(self, name: str, path: Path) -> None:
        # The run may replace or remove a file at any time.
        try:
            facts = path.stat()
            state = [facts.st_mtime_ns, facts.st_size]
            if self._copied.get(name) == state:
                return
            content = path.read_bytes() if facts.st_size <= _WHOLE_BYTES else None
        except FileNotFoundError:
            return
        self._put(name, path if content is None else content)
        self._copied[name] = state

    def _remove(self, name: str) -> None:
        store, place = store_of(f"{self._address}/{name}")
        self._copied.pop(name, None)
        with suppress(FileNotFoundError):
            store.rm_file(place)

    def _put(self, name: str, content: Path | bytes) -> None:
        address = f"{self._address}/{name}"
        store, place = store_of(address)

        def put() -> None:
            if isinstance(content, bytes):
                store.pipe_file(place, content)
                size = len(content)
            else:
                size = content.stat().st_size
                store.put_file(str(content), place)
            store.invalidate_cache()
            found = store.info(place)["size"]
            if found != size:
                raise OSError(f"{found} of {size} bytes arrived")

        patiently(address, put)


def fetch_newest(folder: Path, address: str) -> None:
    """Bring the newest checkpoint, the log and the metrics here, if others wrote them.

    Args:
        folder: local.
        address: without a slash at its end.

    Raises:
        MissingFileError: if the store keeps failing.
    """
    store, root = store_of(address)
    found = patiently(address, lambda: store.find(root, detail=True))
    places = {place[len(root) + 1 :]: place for place in found}
    if _MARK not in places:
        return

    def get(name: str, path: Path) -> None:
        size = found[places[name]]["size"]
        patiently(f"{address}/{name}", lambda: get_file(store, places[name], path, size))

    # A copy beside the mark, since a mark whose checkpoint is missing must not be there.
    new_mark = folder / f"{_MARK}.new"
    get(_MARK, new_mark)
    mark, here, copied = _read(new_mark) or "", _read(folder / _MARK), _read_record(folder)
    if here == mark:
        return
    if here is not None and here != copied.get(_MARK):
        logger.info(f"{folder} is newer than {address}: it has {here.strip()}")
        return
    logger.info(f"Fetching {mark.strip()} and the log from {address} to {folder}")
    for name in places:
        is_old = name.endswith(_CHECKPOINTS) and name != mark.strip()
        if name == _MARK or is_old or ".." in Path(name).parts:
            continue
        get(name, folder / name)
        facts = (folder / name).stat()
        copied[name] = [facts.st_mtime_ns, facts.st_size]
    os.replace(new_mark, folder / _MARK)
    _write_record(folder, {**copied, _MARK: mark})


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _read_record(folder: Path) -> dict[str, Any]:
    """What was copied from a folder; empty if nothing is known."""
    try:
        record: dict[str, Any] = json.loads(_read(folder / _RECORD) or "{}")
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _write_record(folder: Path, copied: dict[str, Any]) -> None:
    """Note what was copied from a folder."""
    write_file(folder / _RECORD, json.dumps(copied))


def main(folder: str, address: str) -> int:
    """Copy until the standard input ends, and once more.

    Returns:
        0 if everything was copied at the end.
    """
    copier = Copier(Path(folder), address)
    ended: queue.Queue[str] = queue.Queue()
    threading.Thread(target=lambda: ended.put(sys.stdin.read()), daemon=True).start()
    is_last = False
    while not is_last:
        reason = ""
        with suppress(queue.Empty):
            ended.get(timeout=PERIOD_S)
            is_last = True
        try:
            copier.copy_changes()
        except Exception as error:
            # Broad on purpose: a run must not lose its copies by an error that nobody foresaw.
            reason = " ".join(str(error).split()) or type(error).__name__
        with suppress(OSError):
            print(reason, flush=True)
    return int(bool(reason))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
