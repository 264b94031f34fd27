"""Files: addresses that resolve to local paths, and writing that leaves a file whole or absent."""

import errno
import json
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from iopath.common.file_io import HTTPURLHandler, PathHandler
from iopath.common.file_io import PathManager as _PathManager

from .download import cached_path, download
from .errors import OutputError, UserError
from .object_store import ObjectStoreHandler
from .tar_members import TarMemberHandler

__all__ = [
    "PathHandler",
    "PathManager",
    "atomic_write",
    "cache_dir",
    "make_folder",
    "read_json_file",
    "refuse_special_file",
    "whole_files",
    "write_file",
    "write_json_file",
]

# A disk with less than this is full.
_LEAST_FREE = 2**16
# Characters, of four bytes at most, of 255 bytes that a name can have.
_KEPT_OF_NAME = 60
_ZOO_HOST = "dl.fbaipublicfiles.com"
_ZOO_ADDRESS = f"https://{_ZOO_HOST}/detectron2/"


def cache_dir() -> Path:
    """Where downloads are kept: `$D2LITE_CACHE`, else `~/.cache/d2lite`.

    Without a home folder, as in some containers, it is a folder of the user's in the temporary one.
    """
    folder = os.path.expanduser(os.environ.get("D2LITE_CACHE") or "~/.cache/d2lite")
    if folder.startswith("~"):
        return Path(tempfile.gettempdir(), f"d2lite-cache-{getattr(os, 'getuid', int)()}")
    return Path(folder)


class _CachedURLHandler(HTTPURLHandler):  # type: ignore[misc]  # iopath ships no types
    """http(s) addresses, downloaded once into our cache folder."""

    def _get_local_path(
        self, path: str, force: bool = False, cache_folder: str | None = None, **kwargs: Any
    ) -> str:
        folder = cache_dir() if cache_folder is None else Path(cache_folder)
        place = cached_path(path, folder).relative_to(folder)
        # Published weights are stored as in detectron2's cache, so that people can copy theirs.
        if place.parts[0] == _ZOO_HOST:
            place = place.relative_to(_ZOO_HOST)
        return str(download(path, folder / place, force=force))


class Detectron2Handler(PathHandler):  # type: ignore[misc]  # iopath ships no types
    """`detectron2://...`: short addresses of the published models."""

    PREFIX = "detectron2://"

    def _get_supported_prefixes(self) -> list[str]:
        return [self.PREFIX]

    def _address(self, path: str) -> str:
        return _ZOO_ADDRESS + path.removeprefix(self.PREFIX)

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return str(PathManager.get_local_path(self._address(path), force=force, **kwargs))

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO[Any]:
        opened: IO[Any] = PathManager.open(self._address(path), mode, buffering, **kwargs)
        return opened


def refuse_special_file(path: str | os.PathLike[str]) -> None:
    """Refuse what is not a file of data: opening a pipe or reading a device may never end.

    Args:
        path: of the local file system; one that does not exist passes.

    Raises:
        OSError: if it is a named pipe, a device, a socket or a folder.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        # Whoever opens it reports that, with the better message.
        return
    for is_kind, kind in _SPECIAL_FILES.items():
        if is_kind(mode):
            raise OSError(errno.EINVAL, f"it is a {kind} and not a file", os.fspath(path))


_SPECIAL_FILES = {
    stat.S_ISFIFO: "named pipe",
    stat.S_ISCHR: "device",
    stat.S_ISBLK: "device",
    stat.S_ISSOCK: "socket",
    stat.S_ISDIR: "folder",
}


def read_json_file(path: str | os.PathLike[str]) -> Any:
    """The content of a local JSON file.

    Args:
        path: of the file; with or without a byte order mark.

    Raises:
        OSError: if it cannot be read, or is not a file.
        ValueError: if it is not JSON in UTF-8, or is nested too deeply.
    """
    refuse_special_file(path)
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


class _CarefulPathManager(_PathManager):  # type: ignore[misc]  # iopath ships no types
    """iopath's manager, which opens for reading only what can be read to an end."""

    def open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO[Any]:
        if "r" in mode and "://" not in path:
            refuse_special_file(path)
        opened: IO[Any] = super().open(path, mode, buffering, **kwargs)
        return opened


PathManager = _CarefulPathManager()
"""Opens and fetches by address: a local path, http(s), detectron2:// or an object store."""
PathManager.register_handler(_CachedURLHandler())
PathManager.register_handler(Detectron2Handler())
PathManager.register_handler(ObjectStoreHandler(cache_dir))
PathManager.register_handler(TarMemberHandler(PathManager.get_local_path))


def make_folder(path: str | os.PathLike[str], option: str) -> Path:
    """Make a folder for results before the work that takes long, and try to write there.

    Args:
        path: of the folder; it may be there.
        option: that names it, for the message.

    Raises:
        OutputError: if it cannot be made, or no file in it.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        reason = "it is a file" if os.path.isfile(folder) else getattr(error, "strerror", error)
        raise OutputError(f"{option} {folder}: {reason}. Name a folder to write to.") from error
    return folder


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO[Any]]:
    """Write a file that appears under its name only when it is complete.

    The content goes to a temporary file of the same folder, reaches the disk, and takes the name
    in one step. Whatever goes wrong, the file that was there before stays as it was.

    Args:
        path: the file to write; its folder is made where it is missing.
        mode: "w" for UTF-8 text or "wb" for bytes.

    Yields:
        The open temporary file.

    Raises:
        OutputError: if the system refuses to write there (rights, space, a folder in the way).
        ValueError: for another mode.
    """
    if mode not in ("w", "wb"):
        raise ValueError(f"atomic_write got mode {mode!r}; it writes whole files: 'w' or 'wb'.")
    encoding = "utf-8" if mode == "w" else None
    target = Path(path)
    # A name of its own for each writer, so that two processes never share a half-written file;
    # cut, since the longest name that a file can have leaves no room.
    temporary = target.with_name(f".{target.name[:_KEPT_OF_NAME]}.{secrets.token_hex(4)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Names of files that are not UTF-8 reach texts with surrogates, which are not either.
        errors = "backslashreplace" if mode == "w" else None
        with open(temporary, mode.replace("w", "x"), encoding=encoding, errors=errors) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
        _flush_folder(target.parent)
    except (OSError, RuntimeError) as error:
        # torch.save replaces the system's error by one of a wrong position in its archive.
        err = error.__context__ if isinstance(error, RuntimeError) else error
        if not isinstance(err, OSError):
            raise
        raise OutputError(
            f"Cannot write {target}: {err.strerror or err}. "
            "Choose another place (OUTPUT_DIR, --output) or make this one writable."
        ) from err
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_file(path: str | os.PathLike[str], content: str | bytes | memoryview) -> None:
    """Write a whole file as `atomic_write` does: UTF-8 text, or bytes."""
    with atomic_write(path, "w" if isinstance(content, str) else "wb") as stream:
        stream.write(content)


def write_json_file(path: str | os.PathLike[str], content: Any, **options: Any) -> None:
    """Write a JSON file as `atomic_write` does, with options of `json.dump`."""
    with atomic_write(path) as stream:
        json.dump(content, stream, **options)


@contextmanager
def whole_files(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Let others write files by path, which come into a folder only when all are complete.

    Args:
        folder: it exists.

    Yields:
        An empty folder; what is in it at the end gets its names in `folder`.

    Raises:
        OutputError: if the system refuses to write there, also where a compiled library tells a
            full disk by an error of its own.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".", suffix=".tmp", dir=folder) as place:
            try:
                yield Path(place)
            except RuntimeError as error:
                if shutil.disk_usage(place).free >= _LEAST_FREE:
                    raise
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            for path in Path(place).iterdir():
                os.replace(path, Path(folder, path.name))
    except UserError:
        raise
    except OSError as error:
        raise OutputError(
            f"Cannot write to {folder}: {error.strerror or error}. Choose another folder "
            "(--output) or make this one writable."
        ) from error


def _flush_folder(folder: Path) -> None:
    """Let a new name reach the disk too, on systems that can be asked for it."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
