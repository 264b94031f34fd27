"""How batches come from workers: by shared memory, or through pipes where there is little of it.

torch passes each tensor as a file in shared memory, with an open file each until it arrives. A
container has 64 MB of such memory by default, and a low limit on open files breaks the passing in a
thread that nobody waits for, so that the training would wait for ever.
"""

import errno
import functools
import logging
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from d2lite.utils.errors import StateError

try:
    import resource
except ImportError:  # Windows, which has no such limits
    resource = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

_SHARED_MEMORY = "/dev/shm"
_LEAST_MEMORY = 512 * 2**20
_LEAST_FILES = 256
_FILES = "Raise the limit with 'ulimit -n 4096'"
_PROCESSES = "Raise the limit of processes and threads (`ulimit -u`, the container's)"
# Workers share semaphores, which are files there.
_SEMAPHORES = f"Workers need {_SHARED_MEMORY}: let this user write there"
_ADVICE = {
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.EAGAIN: _PROCESSES,
    **dict.fromkeys((errno.ENOENT, errno.EACCES, errno.EROFS, errno.ENOSPC), _SEMAPHORES),
    errno.ENOMEM: "Free some memory",
}


class PackedBatch:
    """A batch as bytes, which fit through a pipe without shared memory."""

    def __init__(self, batch: Any) -> None:
        self._content = pickle.dumps(batch, protocol=pickle.HIGHEST_PROTOCOL)

    def unpack(self) -> Any:
        """The batch; its bytes came from a worker of this process."""
        return pickle.loads(self._content)


def lack_of_means() -> str:
    """What this machine has too little of to share memory with workers; "" if it has enough."""
    if resource is not None:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if limit != resource.RLIM_INFINITY and limit < _LEAST_FILES:
            return (
                f"this process may have {limit} files open; raise the limit with 'ulimit -n 4096'"
            )
    try:
        free = shutil.disk_usage(_SHARED_MEMORY).free
    except OSError:
        return ""
    if free < _LEAST_MEMORY:
        return (
            f"{_SHARED_MEMORY} has {free // 2**20} MB free; give a container more with "
            "--shm-size=2g or --ipc=host"
        )
    return ""


@functools.cache
def log_pipes(reason: str) -> None:
    """Say once why batches go through pipes."""
    logger.warning("Batches come from the workers through pipes, which takes longer: %s.", reason)


@contextmanager
def naming_the_limit(num_workers: int) -> Iterator[None]:
    """Replace the error of a machine that refuses worker processes by one that says what to raise.

    Raises:
        StateError: in place of that error.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        advice = _advice(error)
        if not advice:
            raise
        raise StateError(
            f"The {num_workers} workers of a data loader cannot be started: "
            f"{getattr(error, 'strerror', None) or error}. {advice}, or set "
            "DATALOADER.NUM_WORKERS 0."
        ) from error


def _advice(error: OSError | RuntimeError) -> str:
    """What to raise where workers could not be started; "" for an error of another kind."""
    if isinstance(error, OSError):  # of a file that has a name, it is not a semaphore's
        return "" if error.filename else _ADVICE.get(error.errno or 0, "")
    return _PROCESSES if "can't start new thread" in str(error) else ""
