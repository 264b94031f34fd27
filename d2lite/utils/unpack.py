"""Unpacking archives that others made: files only, and none outside of the folder."""

import os
import re
import secrets
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from .errors import DataError, OutputError

_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError)


@dataclass(frozen=True)
class _Member:
    """A file of an archive."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]


def unpack(
    archive: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    below: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write the files of a zip or tar archive into a folder.

    All names are looked at before anything is written. Each file appears when it is complete, and
    the checksums of a zip are compared.

    Args:
        archive: .zip, .tar, .tar.gz ...; recognised by its content.
        folder: where to; made where it is missing.
        below: only the files in this folder of the archive, whose name is left out.
        progress: called with how many files are written, and of how many.

    Returns:
        How many files were written.

    Raises:
        DataError: if the archive is broken, or has a link, a device or a path that leads out of
            the folder; nothing is written of such a one.
        OutputError: if the disk has no room or the folder cannot be written.
    """
    archive, folder = Path(archive), Path(folder)
    try:
        with _members(archive) as members:
            chosen = [
                (place, member) for member in members if (place := _place(archive, member, below))
            ]
            if not chosen:
                raise DataError(f"{archive} has no files{f' in {below}' if below else ''}.")
            _check_room(folder, sum(member.size for _, member in chosen))
            for count, (place, member) in enumerate(chosen, start=1):
                _write(member, folder / place)
                if progress:
                    progress(count, len(chosen))
    except _BROKEN as err:
        raise DataError(
            f"{archive} is broken and cannot be unpacked: {err}. Delete it and fetch it again."
        ) from err
    return len(chosen)


@contextmanager
def _members(archive: Path) -> Iterator[list[_Member]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            yield list(_zip_members(archive, file))
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as file:
            yield list(_tar_members(archive, file))
    else:
        raise DataError(f"{archive} is neither a zip nor a tar archive. Is the download complete?")


def _zip_members(archive: Path, file: zipfile.ZipFile) -> Iterator[_Member]:
    for info in file.infolist():
        # The upper half holds the mode that Unix gave the file; other systems leave it zero.
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _unsafe(archive, info.filename, "is a link or a device")
        if info.flag_bits & 1:
            raise DataError(f"{archive} is encrypted.")
        if not info.is_dir():
            # orig_filename keeps backslashes and what comes after a zero byte.
            yield _Member(info.orig_filename, info.file_size, partial(file.open, info))


def _tar_members(archive: Path, file: tarfile.TarFile) -> Iterator[_Member]:
    for info in file.getmembers():
        if not (info.isfile() or info.isdir()):
            raise _unsafe(archive, info.name, "is a link or a device")
        if info.isfile():
            yield _Member(info.name, info.size, partial(_open, file, info))


def _open(file: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    stream = file.extractfile(info)
    assert stream is not None  # which only folders and devices give
    return stream


def _place(archive: Path, member: _Member, below: str) -> Path | None:
    """Where a file goes, relative to the folder; None if it is not wanted."""
    name = member.name
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts:
        raise _unsafe(archive, name, "leads out of the folder")
    # To Windows these are separators and drives, and nobody needs them in a name.
    if re.search(r"[\\:\x00]", name):
        raise _unsafe(archive, name, "has a backslash, a colon or a zero byte")
    wanted = PurePosixPath(below).parts
    if parts[: len(wanted)] != wanted:
        return None
    return Path(*parts[len(wanted) :])


def _unsafe(archive: Path, name: str, why: str) -> DataError:
    return DataError(
        f"{archive} has the entry {name!r}, which {why}. Nothing was unpacked: a dataset has "
        "plain files alone, so this is not what it should be."
    )


def _check_room(folder: Path, needed: int) -> None:
    home = folder.absolute()
    while not home.exists():
        home = home.parent
    free = shutil.disk_usage(home).free
    if needed > free:
        raise OutputError(
            f"Unpacking into {folder} needs {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are "
            "free. Make room or choose another folder."
        )


def _write(member: _Member, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as source, open(temporary, "xb") as stream:
            shutil.copyfileobj(source, stream, 1 << 20)
        os.replace(temporary, target)
    except OSError as err:
        raise OutputError(f"Cannot write {target}: {err.strerror or err}.") from err
    finally:
        with suppress(OSError):
            temporary.unlink()
