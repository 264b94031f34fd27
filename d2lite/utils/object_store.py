"""Files of object stores (s3://, gs://, hf://datasets/), read through fsspec and a local cache.

A file is fetched whole, into a temporary name, and its length compared with what the store says; so
what is in the cache is complete. The cache is bounded: the files that were not used for longest go.
"""

import errno
import logging
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from iopath.common.file_io import PathHandler

from .download import cached_path
from .errors import ConfigError, MissingFileError, MissingPackageError, OutputError

__all__ = ["ObjectStoreHandler", "get_file", "patiently", "store_of"]

logger = logging.getLogger(__name__)

_ATTEMPTS = 4
_FIRST_PAUSE_S = 0.5
_VARIABLE, _DEFAULT_GIB = "D2LITE_OBJECT_CACHE_GIB", 50.0
# Files that were used this recently stay: another process may be about to open them.
_KEEP_S = 60.0


class ObjectStoreHandler(PathHandler):  # type: ignore[misc]  # iopath ships no types
    """Object stores as addresses of `PathManager`.

    Environment variables and files of the store's own tools hold the credentials; AWS_ENDPOINT_URL
    names another server than Amazon's. Images come from the cache without asking the store again;
    of annotations, configs and weights each process asks once whether they have changed.
    """

    PREFIXES = ("s3://", "gs://", "gcs://", "hf://datasets/")

    def __init__(self, cache: Callable[[], Path]) -> None:
        """Make a handler.

        Args:
            cache: returns the folder that the files are kept in.
        """
        super().__init__()
        self._cache = cache
        self._compared: set[tuple[int, str]] = set()
        self._num_unchecked_bytes: int | None = None

    def _get_supported_prefixes(self) -> list[str]:
        return list(self.PREFIXES)

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        key = os.getpid(), path
        target = self._fetch(path, is_new=force or key not in self._compared)
        self._compared.add(key)
        return str(target)

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO[Any]:
        if "r" not in mode:
            store, name = store_of(path)
            opened: IO[Any] = store.open(name, mode)
            return opened
        for _ in range(_ATTEMPTS):
            try:
                return open(self._fetch(path), mode, buffering, **kwargs)
            except MissingFileError:
                raise
            except FileNotFoundError:
                # Another process has removed it from the cache meanwhile.
                continue
        raise OutputError(f"{path} does not stay in the cache {self._cache()}: it is too small.")

    def _exists(self, path: str, **kwargs: Any) -> bool:
        store, name = store_of(path)
        return bool(patiently(path, lambda: store.exists(name)))

    def _isfile(self, path: str, **kwargs: Any) -> bool:
        store, name = store_of(path)
        return bool(patiently(path, lambda: store.isfile(name)))

    def _isdir(self, path: str, **kwargs: Any) -> bool:
        store, name = store_of(path)
        return bool(patiently(path, lambda: store.isdir(name)))

    def _ls(self, path: str, **kwargs: Any) -> list[str]:
        store, name = store_of(path)
        found = patiently(path, lambda: store.ls(name, detail=False))
        return sorted(os.path.basename(str(entry).rstrip("/")) for entry in found)

    def _mkdirs(self, path: str, **kwargs: Any) -> None:
        """Nothing: stores have no folders."""

    def _copy_from_local(
        self, local_path: str, dst_path: str, overwrite: bool = False, **kwargs: Any
    ) -> bool:
        store, name = store_of(dst_path)
        if not overwrite and store.exists(name):
            return False
        patiently(dst_path, lambda: store.put_file(local_path, name))
        return True

    def _rm(self, path: str, **kwargs: Any) -> None:
        store, name = store_of(path)
        store.rm(name)

    # ---------------------------------------------------------------- the cache

    def _fetch(self, path: str, *, is_new: bool = False) -> Path:
        """The file in the cache.

        Args:
            path: address.
            is_new: ask the store whether the file has changed.

        Raises:
            MissingFileError: if the store does not have the file, refuses it, or cannot be reached.
        """
        target = cached_path(path, self._cache() / path.partition("://")[0])
        mark = target.with_name(f"{target.name}.mark")
        if target.is_file() and not is_new:
            _touch(target)
            return target
        store, name = store_of(path)
        facts = patiently(path, lambda: store.info(name))
        if facts.get("type") == "directory":
            raise IsADirectoryError(errno.EISDIR, "it is a folder of a store and not a file", path)
        state = repr([facts.get(key) for key in ("size", "ETag", "etag", "mtime", "LastModified")])
        if target.is_file() and mark.is_file() and mark.read_text("utf-8") == state:
            _touch(target)
            return target
        patiently(path, lambda: get_file(store, name, target, facts.get("size")))
        mark.write_text(state, encoding="utf-8")
        self._trim(target)
        return target

    def _trim(self, newest: Path) -> None:
        """Remove the files that were not used for longest, where the cache has become too large."""
        limit = _limit()
        added = newest.stat().st_size
        if self._num_unchecked_bytes is not None:
            self._num_unchecked_bytes += added
            # Counting all files takes long; until a part of the limit has come, none is due.
            if self._num_unchecked_bytes < limit / 20:
                return
        self._num_unchecked_bytes = 0
        files = []
        for prefix in self.PREFIXES:
            for file in (self._cache() / prefix.partition("://")[0]).rglob("*"):
                if file.is_file() and file.suffix not in (".mark", ".part"):
                    facts = file.stat()
                    files.append((facts.st_mtime, facts.st_size, file))
        total = sum(size for _, size, _ in files)
        for used, size, file in sorted(files):
            if total <= 0.9 * limit or time.time() - used < _KEEP_S:
                break
            file.with_name(f"{file.name}.mark").unlink(missing_ok=True)
            file.unlink(missing_ok=True)
            total -= size


def _limit() -> float:
    text = os.environ.get(_VARIABLE, "")
    try:
        return float(text or _DEFAULT_GIB) * 2**30
    except ValueError:
        raise ConfigError(f"{_VARIABLE}={text!r} is not a number of GiB, such as 50.") from None


def _touch(path: Path) -> None:
    try:
        os.utime(path)
    except OSError:
        # A cache that others own may be read all the same.
        logger.debug("%s cannot be marked as used", path)


def store_of(path: str) -> tuple[Any, str]:
    """The file system of an address in fsspec, and the name there.

    Raises:
        MissingPackageError: if fsspec, or its package for this store, is not installed.
    """
    try:
        # Optional: most people's files are local.
        import fsspec

        # A new object in each process: connections do not survive a fork.
        store, name = fsspec.core.url_to_fs(path)
    except ImportError as err:
        raise MissingPackageError(
            f"{path} needs packages that are not installed ({err}): pip install 'd2lite[stores]'."
        ) from err
    # Listings may be of before.
    store.invalidate_cache()
    return store, name


def get_file(store: Any, name: str, target: Path, size: int | None) -> None:
    """Fetch a file whole or not at all.

    Args:
        store: a file system of fsspec.
        name: of the file there.
        target: local; its folder is made.
        size: bytes of the file, None if they are not known.

    Raises:
        OSError: if another number of bytes came.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        store.get_file(name, str(part))
        found = part.stat().st_size
        if size is not None and found != size:
            raise OSError(f"{found} of {size} bytes came")
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def patiently(path: str, action: Callable[[], Any]) -> Any:
    """The result of an action, which is tried again after errors that may pass.

    Raises:
        MissingFileError: if the file is not there, is refused, or the store keeps failing.
    """
    reason = ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_FIRST_PAUSE_S * 2 ** (attempt - 1))
        try:
            return action()
        except FileNotFoundError as err:
            raise MissingFileError(f"{path} is not in the store. Check the address.") from err
        except PermissionError as err:
            raise MissingFileError(
                f"{path} is refused by the store ({err}). Check the credentials, as the tools of "
                "the store itself do: `aws s3 ls`, `gcloud storage ls`, `hf auth whoami`."
            ) from err
        except Exception as err:  # each store's library has errors of its own
            reason = f"{type(err).__name__}: {err}".rstrip(": ")
            logger.debug("%s, attempt %d: %s", path, attempt + 1, reason)
    raise MissingFileError(f"{path} cannot be reached after {_ATTEMPTS} attempts ({reason}).")
