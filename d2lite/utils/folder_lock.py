"""FolderLock: one run at a time writes to a folder."""

import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from .errors import OutputError
from .file_io import refuse_special_file

try:
    import fcntl
except ImportError:  # Windows, where a file that is open for writing cannot be opened again
    fcntl = None  # type: ignore[assignment]

_NAME = "run.lock"


class FolderLock:
    """Keeps a second run out of a folder for as long as this process lives.

    The lock is the operating system's, on a file that names its owner: it ends with the process,
    however that ends, and holds on network file systems that have locks. It is not inherited by
    child processes, so that a worker left over from a killed run does not keep it. Trainers of
    one process share it.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Take the lock.

        Args:
            folder: it exists, and can be written.

        Raises:
            OutputError: if another process holds it; the text names that process. Also if there is
                something in its place that is not a file, or is not ours to write.
        """
        self.path = Path(folder) / _NAME
        self._file: IO[str] | None = None
        if fcntl is None:
            return
        file = self._open()
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            while not is_still_at(self.path, file):
                # Its owner took the file away between our opening and our locking it.
                file.close()
                file = self._open()
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as err:
            file.seek(0)
            owner = _describe(file.read())
            file.close()
            raise OutputError(
                f"Another run is writing to {folder}: {owner}. Two runs would overwrite each "
                "other's checkpoints. Give this one another OUTPUT_DIR, or stop the other first."
            ) from err
        except OSError:
            # A file system without locks: better a run without one than no run.
            file.close()
            return
        self._file = file
        facts = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.time()}
        with suppress(OSError):  # a full disk: the lock holds, and does not name its owner
            os.truncate(file.fileno(), 0)
            os.write(file.fileno(), json.dumps(facts).encode())

    def _open(self) -> IO[str]:
        try:
            refuse_special_file(self.path)
            return open(self.path, "a+", encoding="utf-8", errors="replace")
        except OSError as err:
            raise OutputError(
                f"Cannot open {self.path}, by which a run keeps others out of its folder: "
                f"{err.strerror or err}. Choose another OUTPUT_DIR, or remove it if no run is "
                "writing there."
            ) from err

    def release(self) -> None:
        """Let another run begin; the file goes too."""
        if self._file is not None:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def __del__(self) -> None:
        self.release()


def is_still_at(path: Path, file: IO[Any]) -> bool:
    """Whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _describe(text: str) -> str:
    try:
        facts = json.loads(text)
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(facts["since"]))
        return f"process {facts['pid']} on {facts['host']}, since {since}"
    except (ValueError, KeyError, TypeError, OverflowError):
        return f"see {_NAME} there"
