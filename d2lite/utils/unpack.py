"""Unpacking archives that others made: files only, and none outside of the folder."""

import gzip
import lzma
import os
import re
import secrets
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from .errors import DataError, MissingFileError, OutputError, UserError

# What the standard readers raise for damaged archives, some of it by accident.
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
    struct.error,
    EOFError,
    NotImplementedError,
    ValueError,
    OverflowError,
    IndexError,
    KeyError,
    RuntimeError,
)
# Long names are kept in headers of their own, which are read into memory as a whole.
_MAX_HEADER = 1 << 20
# tar fills its last block with zeros; no tool writes nearly as much.
_MAX_PADDING = 1 << 26
_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class _BoundedTarInfo(tarfile.TarInfo):
    """Refuses headers that would fill the memory."""

    def _proc_member(self, file: tarfile.TarFile) -> Any:
        if self.type in _HEADERS and not 0 <= self.size <= _MAX_HEADER:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return super()._proc_member(file)  # type: ignore[misc]  # not in the stubs


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
        with _members(archive, folder) as members:
            chosen = [
                (place, member) for member in members if (place := _place(archive, member, below))
            ]
            if not chosen:
                raise DataError(f"{archive} has no files{f' in {below}' if below else ''}.")
            _check_room(archive, folder, sum(member.size for _, member in chosen))
            for count, (place, member) in enumerate(chosen, start=1):
                _write(member, folder / place)
                if progress:
                    progress(count, len(chosen))
    except UserError:
        raise
    except _BROKEN as err:
        raise DataError(
            f"{archive} is broken and cannot be unpacked: {err}. Delete it and fetch it again."
        ) from err
    return len(chosen)


@contextmanager
def _members(archive: Path, folder: Path) -> Iterator[list[_Member]]:
    try:
        opened = archive.open("rb")
    except OSError as err:
        raise MissingFileError(f"{archive} cannot be read: {err.strerror or err}.") from err
    with opened as stream:
        if zipfile.is_zipfile(stream):
            with zipfile.ZipFile(stream) as file:
                yield list(_zip_members(archive, file))
            return
        stream.seek(0)
        try:
            tar = tarfile.open(fileobj=stream, tarinfo=_BoundedTarInfo)  # noqa: SIM115 - below
        except tarfile.ReadError as err:
            raise DataError(
                f"{archive} is neither a zip nor a tar archive ({err}). Is the download complete?"
            ) from err
        with tar:
            members = list(_tar_members(archive, tar, folder))
            _check_end(tar)
            yield members


def _zip_members(archive: Path, file: zipfile.ZipFile) -> Iterator[_Member]:
    for info in file.infolist():
        # The upper half holds the mode that Unix gave the file; other systems leave it zero.
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _unsafe(archive, info.filename, "is a link or a device")
        if info.flag_bits & 1:
            raise DataError(f"{archive} is encrypted.")
        # orig_filename keeps what is after a zero byte, and backslashes.
        if not info.orig_filename.endswith("/"):
            yield _Member(info.orig_filename, info.file_size, partial(file.open, info))


def _tar_members(archive: Path, file: tarfile.TarFile, folder: Path) -> Iterator[_Member]:
    total = 0
    for info in file:
        if info.size < 0:
            raise tarfile.ReadError(f"the entry {info.name!r} has the size {info.size}")
        # Before the next header, for whose sake a compressed archive unpacks this file.
        total += info.size
        _check_room(archive, folder, total)
        if not (info.isfile() or info.isdir()):
            raise _unsafe(archive, info.name, "is a link or a device")
        if info.isfile():
            yield _Member(info.name, info.size, partial(_open, file, info))


def _check_end(file: tarfile.TarFile) -> None:
    """Read what is after the last file: compression has its checksum there."""
    rest: Any = file.fileobj
    for _ in range(_MAX_PADDING // (1 << 20)):
        if not rest.read(1 << 20):
            return
    raise tarfile.ReadError("the last file is followed by more than padding")


def _open(file: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    stream = file.extractfile(info)
    assert stream is not None  # which only folders and devices give
    return stream


def _place(archive: Path, member: _Member, below: str) -> Path | None:
    """Where a file goes, relative to the folder; None if it is not wanted."""
    name = member.name
    parts = PurePosixPath(name).parts
    if not parts:
        raise _unsafe(archive, name, "names no file")
    if name.startswith("/") or ".." in parts:
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


def _check_room(archive: Path, folder: Path, needed: int) -> None:
    home = folder.absolute()
    while not home.exists():
        home = home.parent
    free = shutil.disk_usage(home).free
    if needed > free:
        raise OutputError(
            f"Unpacking {archive} into {folder} needs {needed / 1e9:.1f} GB, and "
            f"{free / 1e9:.1f} GB are free. Make room or choose another folder."
        )


def _write(member: _Member, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as source, open(temporary, "xb") as stream:
            shutil.copyfileobj(source, stream, 1 << 20)
        os.replace(temporary, target)
    except gzip.BadGzipFile:
        raise  # an OSError that the archive is to blame for
    except OSError as err:
        raise OutputError(f"Cannot write {target}: {err.strerror or err}.") from err
    finally:
        with suppress(OSError):
            temporary.unlink()
