"""Datasets in zip archives: unpacked once, into the cache folder."""

import hashlib
import logging
import os
import tempfile
from pathlib import Path

from d2lite.utils.errors import OutputError
from d2lite.utils.file_io import cache_dir
from d2lite.utils.unpack import unpack

logger = logging.getLogger(__name__)


def unpacked(archive: Path) -> Path:
    """The folder of an archive's files, which are written where they are not there yet.

    Args:
        archive: a .zip file; a changed one is unpacked again.

    Raises:
        DataError: if it is damaged.
        OutputError: if the cache folder cannot be written.
    """
    facts = archive.stat()
    key = f"{archive.resolve()} {facts.st_size} {facts.st_mtime_ns}".encode()
    name = f"{archive.stem}-{hashlib.blake2b(key, digest_size=8).hexdigest()}"
    target = cache_dir() / "archives" / name
    if target.is_dir():
        return target
    logger.info("%s is unpacked into %s", archive, target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as place:
            made = Path(place) / name
            unpack(archive, made)
            try:
                os.rename(made, target)
            except OSError:
                if not target.is_dir():  # else another process was faster
                    raise
    except OSError as err:
        raise OutputError(f"{archive} cannot be unpacked into {target}: {err}.") from err
    return target
