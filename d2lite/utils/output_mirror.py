"""The folder of a run, copied to an object store by a process while the run writes to it."""

import logging
import os
import subprocess
import sys
import threading
from contextlib import suppress
from multiprocessing.util import Finalize
from pathlib import Path

from .download import cached_path
from .errors import MissingFileError, OutputError
from .file_io import cache_dir
from .folder_copier import PERIOD_S, fetch_newest
from .object_store import patiently, store_of

__all__ = ["OutputMirror", "address_of", "is_store_address", "mirror_of"]

logger = logging.getLogger(__name__)

_STORES = ("s3://", "gs://", "gcs://")
# The longest wait for the process at the end of the run.
_END_S = 1800.0


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
            fetch_newest(self.folder, self.address)
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
            [sys.executable, "-m", "d2lite.utils.folder_copier", str(self.folder), self.address],
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
            f"What is written to {self.folder} is copied to {self.address} every {PERIOD_S:g} s"
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
                        f"in {self.folder}, and it is tried again every {PERIOD_S:g} s."
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
