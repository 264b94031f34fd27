"""The folder of a run's checkpoints: which is the newest, and unfinished files in it."""

import logging
import os
import re
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)

# Holds the name of the checkpoint that a resumed run starts from.
LAST_CHECKPOINT = "last_checkpoint"

# Of last_checkpoint, and of a file's name in most file systems.
_MAX_MARK_BYTES = 4096
_MAX_NAME_BYTES = 255

# The names that PeriodicCheckpointer gives.
_OF_RUN = re.compile(r"model_(\d{7,}|final)\.pth")

# How `atomic_write` names a file that it has not finished.
_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


def read_mark(folder: str | Path) -> Path | None:
    """The checkpoint that a folder notes as its last one; the file may be missing.

    Args:
        folder: of a run.

    Returns:
        Its path; the folder itself where the note is not the name of a file in it, or is missing
        beside the checkpoints of a run; None where no run has saved anything.
    """
    mark = Path(folder) / LAST_CHECKPOINT
    if not mark.is_file():
        # A run was there, also if its note was lost: a new run would replace its checkpoints.
        was_here = os.path.lexists(mark) or any(map(_OF_RUN.fullmatch, _file_names(mark.parent)))
        return mark.parent if was_here else None
    try:
        with mark.open("rb") as stream:
            text = stream.read(_MAX_MARK_BYTES).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return mark.parent
    # Of a path, written by hand or before the folder was moved, only the name counts.
    name = text.replace("\\", "/").rpartition("/")[2]
    if name in ("", ".", "..") or not name.isprintable() or len(name.encode()) > _MAX_NAME_BYTES:
        return mark.parent
    path = mark.with_name(name)
    return path if name == text or path.is_file() else mark.parent


def _file_names(folder: Path) -> list[str]:
    with suppress(OSError):
        return os.listdir(folder)
    return []


def checkpoints_by_age(folder: str | Path) -> list[Path]:
    """The checkpoints of a folder in the order in which a resume tries them.

    Args:
        folder: of a run.

    Returns:
        The noted one first, even if it is gone, then the others from the youngest to the oldest.
        They are sorted by age since an older run in the folder may have used the same names.
    """
    noted = read_mark(folder)
    others = [path for path in Path(folder).glob("*.pth") if path != noted and path.is_file()]
    others.sort(key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)
    return [*([] if noted is None else [noted]), *others]


def remove_leftovers(folder: str | Path) -> None:
    """Delete the unfinished files of a run that was killed while it wrote.

    Args:
        folder: of a run that no process writes to.
    """
    for path in Path(folder).glob(".*.tmp"):
        if _LEFTOVER.fullmatch(path.name):
            with suppress(OSError):
                path.unlink()
                logger.info("Removed %s, which a killed run left unfinished", path)
