"""Bytes that the processes of a machine keep once in memory, without talking to each other.

Processes that train together read the same annotations, and so make the same bytes. These go to a
file named after their hash in the user's folder for temporary files, which every process maps. The
last process that uses the file removes it; what killed processes have left, the next one removes.
"""

import hashlib
import mmap
import os
import secrets
import stat
import tempfile
import weakref
from contextlib import suppress
from multiprocessing.context import get_spawning_popen
from pathlib import Path
from typing import IO, Any

from .folder_lock import is_still_at

try:
    import fcntl
except ImportError:  # Windows, where nothing is shared
    fcntl = None  # type: ignore[assignment]

__all__ = ["SharedBytes"]

# Smaller contents are copied to each process, which costs less than a file.
_LEAST_SHARED = 2**20
_UNFINISHED = ".tmp"


class SharedBytes:
    """Read-only bytes, in a mapped file where that is possible and else in this process alone.

    Forked processes share them in any case. A spawned process is given the name of the file.

    Attributes:
        view: the bytes.
        path: of the file; None if there is none.
    """

    view: memoryview
    path: Path | None

    def __init__(self, content: bytes | bytearray) -> None:
        """Find the file of these bytes, or write it.

        Args:
            content: is not kept where a file takes its place.
        """
        self.path = None
        self.view = memoryview(content).toreadonly()
        folder = _private_folder() if len(content) >= _LEAST_SHARED else None
        if folder is None:
            return
        path = folder / hashlib.blake2b(content, digest_size=20).hexdigest()
        # A full disk, a file system without locks or maps: then without a file.
        with suppress(OSError):
            # Another process may remove the file before this one has locked it.
            for _ in range(3):
                if not path.exists():
                    _remove_unused(folder)
                    _write(path, content)
                if self._map(path):
                    return

    def __len__(self) -> int:
        return len(self.view)

    def __reduce__(self) -> tuple[Any, ...]:
        # A process that is being spawned will find the file; a pickle on disk may outlive it.
        if self.path is None or get_spawning_popen() is None:
            return SharedBytes, (bytes(self.view),)
        return _open, (str(self.path),)

    def _map(self, path: Path) -> bool:
        """Use the file, as long as this object lives; False if it was removed meanwhile."""
        try:
            file = open(path, "rb")  # noqa: SIM115 - kept, with its lock
        except FileNotFoundError:
            return False
        fcntl.flock(file, fcntl.LOCK_SH)
        if not is_still_at(path, file):
            file.close()
            return False
        self.view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        self.path = path
        weakref.finalize(self, _leave, path, file, os.getpid())
        return True


def _open(path: str) -> SharedBytes:
    """The bytes of a file that another process of this machine uses."""
    shared = SharedBytes(b"")
    if not shared._map(Path(path)):
        raise FileNotFoundError(f"{path}, which the process that made it should keep, is gone.")
    return shared


def _private_folder() -> Path | None:
    """The user's own folder; None where others could put files into it."""
    if fcntl is None:
        return None
    folder = Path(tempfile.gettempdir(), f"d2lite-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        facts = folder.lstat()
    except OSError:
        return None
    is_own = stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid()
    return folder if is_own and not facts.st_mode & 0o077 else None


def _write(path: Path, content: bytes | bytearray) -> None:
    """Write a file that appears under its name when it is complete."""
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(4)}{_UNFINISHED}")
    try:
        with open(unfinished, "xb") as file:
            # What is being written is not taken for a file that nobody uses.
            fcntl.flock(file, fcntl.LOCK_SH)
            file.write(content)
            file.flush()
            # Not replaced: processes that started together have written it meanwhile, and use it.
            with suppress(FileExistsError):
                os.link(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _remove_unused(folder: Path) -> None:
    for path in folder.iterdir():
        with suppress(OSError), open(path, "rb") as file:
            _remove_if_last(path, file)


def _leave(path: Path, file: IO[bytes], owner: int) -> None:
    # A forked process has the lock in common with the one that took it.
    if os.getpid() == owner:
        with suppress(OSError):
            _remove_if_last(path, file)
        with suppress(OSError):
            # Closing would not do it: the map has a handle of its own.
            fcntl.flock(file, fcntl.LOCK_UN)
    file.close()


def _remove_if_last(path: Path, file: IO[bytes]) -> None:
    """Remove a file if no other process has locked it, else raise BlockingIOError."""
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if is_still_at(path, file):
        path.unlink()
