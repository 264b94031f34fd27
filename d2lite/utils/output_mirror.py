"""The folder of a run, copied to an object store while the run writes to it.

`python -m d2lite.utils.output_mirror FOLDER ADDRESS` copies what is new, every half minute and at
the end of its standard input. It is a process of its own, so that a training does not wait for the
store, and that what a killed run has written is still sent; and it needs no torch.
"""

import json
import logging
import os
import queue
import subprocess
import sys
import threading
from contextlib import suppress
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

from .download import cached_path
from .errors import MissingFileError, OutputError
from .file_io import atomic_write, cache_dir
from .object_store import get_file, patiently, store_of

__all__ = ["OutputMirror", "address_of", "is_store_address", "mirror_of"]

logger = logging.getLogger(__name__)

_STORES = ("s3://", "gs://", "gcs://")
_PERIOD_S = 30.0
# The longest wait for the process at the end of the run.
_END_S = 1800.0
# Names the newest checkpoint: copied after the file that it names, and fetched after it.
_MARK = "last_checkpoint"
# What was copied: name -> [time of change in ns, bytes]; of the mark its text.
_RECORD = ".copied.json"
_NOT_COPIED = ("run.lock",)
_CHECKPOINTS = (".pth",)
# Smaller files may grow while they are copied, as logs do, and are copied as they are at one time.
_WHOLE_BYTES = 64 * 2**20


def is_store_address(path: str) -> bool:
    """Whether a run can write to an address through a local folder."""
    return path.startswith(_STORES)


def local_folder(address: str) -> Path:
    """The folder of this machine that holds the files of an address."""
    return cached_path(address, cache_dir() / "runs" / address.partition("://")[0])


class OutputMirror:
    """Copies a local folder to an address of a store until this process ends.

    A store that fails costs a warning: the files are in the folder, and copied once it answers.

    Attributes:
        address: where the files go.
        folder: where the run writes them.
    """

    def __init__(self, address: str) -> None:
        """Do nothing yet.

        Args:
            address: a folder of a store, `s3://bucket/runs/1`.
        """
        self.address = address.rstrip("/")
        self.folder = local_folder(address)
        self._process: subprocess.Popen[str] | None = None
        self._is_failing = False

    def fetch(self) -> None:
        """Bring the newest checkpoint, the log and the metrics here, if others wrote them.

        Raises:
            OutputError: if the store cannot be read.
        """
        try:
            _fetch(self.folder, self.address)
        except MissingFileError as error:
            raise OutputError(f"OUTPUT_DIR {self.address}: {error}") from error

    def start(self) -> None:
        """Start copying; once is enough.

        Raises:
            OutputError: if nothing can be written there.
        """
        if self._process is not None:
            return
        try:
            store, name = store_of(f"{self.address}/.d2lite")
            patiently(self.address, lambda: store.pipe_file(name, b""))
            patiently(self.address, lambda: store.rm_file(name))
        except MissingFileError as error:
            raise OutputError(f"OUTPUT_DIR {self.address} cannot be written: {error}") from error
        self.folder.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "d2lite.utils.output_mirror", str(self.folder), self.address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            # Ctrl-C is for the run, which ends this process in order.
            start_new_session=True,
        )
        threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()
        # Also in a process that multiprocessing has started, where atexit does nothing.
        Finalize(None, self.close, exitpriority=10)
        logger.info(
            f"What is written to {self.folder} is copied to {self.address} every {_PERIOD_S:g} s"
        )

    def close(self) -> None:
        """Copy the rest and stop."""
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        with suppress(OSError):
            process.stdin.close()
        try:
            failed = process.wait(_END_S) != 0
        except subprocess.TimeoutExpired:
            process.kill()
            failed = True
        if failed:
            logger.warning(
                f"Not everything in {self.folder} is at {self.address}. Copy it with the tool of "
                "the store, such as `aws s3 sync`."
            )

    def _listen(self, process: "subprocess.Popen[str]") -> None:
        """Log what the process reports: a line after each round, empty if all was copied."""
        assert process.stdout is not None
        with process.stdout as lines:
            for reason in map(str.strip, lines):
                if reason and not self._is_failing:
                    logger.warning(
                        f"Not copied to {self.address}: {reason} The run goes on; the files are "
                        f"in {self.folder}, and it is tried again every {_PERIOD_S:g} s."
                    )
                elif self._is_failing and not reason:
                    logger.info(f"Everything is copied to {self.address} again")
                self._is_failing = bool(reason)


_MIRRORS: dict[str, OutputMirror] = {}


def mirror_of(address: str) -> OutputMirror:
    """The mirror of an address, one for this process."""
    folder = str(local_folder(address))
    if folder not in _MIRRORS:
        _MIRRORS[folder] = OutputMirror(address)
    return _MIRRORS[folder]


def address_of(folder: str | os.PathLike[str]) -> str:
    """The address that a folder is copied to; the folder itself if it is not."""
    mirror = _MIRRORS.get(str(folder))
    return str(folder) if mirror is None else mirror.address


# -------------------------------------------------------------------- copying and fetching


class Copier:
    """Knows what of a folder is at an address already.

    Args:
        folder: local.
        address: without a slash at its end.
    """

    def __init__(self, folder: Path, address: str) -> None:
        self._folder, self._address = folder, address
        self._copied = read_record(folder)
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
            write_record(self._folder, self._copied)

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


def _fetch(folder: Path, address: str) -> None:
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
    mark, here, copied = _read(new_mark) or "", _read(folder / _MARK), read_record(folder)
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
    write_record(folder, {**copied, _MARK: mark})


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", errors="replace")
    except FileNotFoundError:
        return None


def read_record(folder: Path) -> dict[str, Any]:
    """What was copied from a folder; empty if nothing is known."""
    try:
        record: dict[str, Any] = json.loads(_read(folder / _RECORD) or "{}")
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def write_record(folder: Path, copied: dict[str, Any]) -> None:
    """Note what was copied from a folder."""
    with atomic_write(folder / _RECORD) as file:
        file.write(json.dumps(copied))


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
            ended.get(timeout=_PERIOD_S)
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
