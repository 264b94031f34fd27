"""refusal_of_system: what the machine refuses a program, as a mistake that its user can fix."""

import errno
import os
from importlib import metadata

from .errors import MissingPackageError, OutOfMemoryError, OutputError, UserError

_SPACE = (
    "Free some space there, or write to another disk (OUTPUT_DIR, --output; TMPDIR for temporary "
    "files)."
)
_RIGHTS = "Give yourself the right to read and write there, or name another place."
_FILES = "Raise the limit (`ulimit -n 4096`), or lower DATALOADER.NUM_WORKERS."
_DISK = "The disk or the network share fails: try again, or use another one."
_MEMORY = (
    "Raise the limit of memory (`ulimit -v`, the container's), or use less: smaller "
    "SOLVER.IMS_PER_BATCH, --batch-size, images or DATALOADER.NUM_WORKERS."
)
_PROCESSES = (
    "Raise the limit of processes and threads (`ulimit -u`, the container's), or lower "
    "DATALOADER.NUM_WORKERS and OMP_NUM_THREADS."
)
_ADVICE = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: _SPACE,
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: _RIGHTS,
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.EIO: _DISK,
    errno.ESTALE: _DISK,
    errno.ENAMETOOLONG: "Give a shorter path.",
    errno.ENOMEM: _MEMORY,
    errno.EAGAIN: _PROCESSES,
}
# How torch's C++, Python's threads and the loader of libraries say it.
_OUT_OF_MEMORY = (
    "failed to map segment from shared object",
    *("can't allocate memory", "not enough memory", "std::bad_alloc"),
    "could not create a primitive",  # oneDNN
)
_NO_THREAD = "can't start new thread"
# A torchvision that was built for another torch, and one without CUDA beside a torch with it.
_OTHER_TORCH = ("operator torchvision::", "Could not run 'torchvision::")
_NAME_LENGTH = 200


def refusal_of_system(error: BaseException) -> UserError | None:
    """Say what the machine or a package refused and what to do, if an error was raised by that.

    Returns:
        The mistake, whose cause is the error; None for an error of another kind.
    """
    text = ""
    kind: type[UserError] = OutOfMemoryError
    known = _of_system(error)
    if known is not None and known.errno in _ADVICE:
        name = str(known.filename or "")
        shown = name if len(name) <= _NAME_LENGTH else f"{name[:_NAME_LENGTH]}..."
        text = f"{os.strerror(known.errno)}{f': {shown}' if shown else ''}. {_ADVICE[known.errno]}"
        kind = OutputError
    elif isinstance(error, MemoryError) or _says(error, *_OUT_OF_MEMORY):
        text = f"The memory is not enough. {_MEMORY}"
    elif _says(error, _NO_THREAD):
        text = f"No further thread can be started. {_PROCESSES}"
    elif _says(error, *_OTHER_TORCH):
        kind = MissingPackageError
        text = (
            f"torchvision {metadata.version('torchvision')} was built for another torch than "
            f"{metadata.version('torch')}. Install both from one place: pip install "
            "--force-reinstall torch torchvision, for torch without CUDA with the --index-url of "
            "its installation."
        )
    elif isinstance(error, ModuleNotFoundError) and error.name == "detectron2":
        kind = MissingPackageError
        text = (
            "The file imports detectron2, which is not installed here. `d2lite migrate --write "
            "FILE` renames its imports; `d2lite run -m d2lite` in place of `d2lite` takes it as it "
            "is."
        )
    if not text:
        return None
    mistake = kind(text)
    mistake.__cause__ = error
    return mistake


def _of_system(error: BaseException) -> OSError | None:
    """The system's error that this one is, or that torch's writer has replaced by its own."""
    if isinstance(error, RuntimeError) and isinstance(error.__context__, OSError):
        return error.__context__
    return error if isinstance(error, OSError) else None


def _says(error: BaseException, *texts: str) -> bool:
    return isinstance(error, RuntimeError | ImportError) and any(
        text in str(error) for text in texts
    )
