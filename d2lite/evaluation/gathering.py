"""The predictions of all processes in one place."""

from typing import TypeVar

from d2lite.utils.comm import gather, is_main_process, synchronize

T = TypeVar("T")


def gather_parts(part: T, *, distributed: bool = True) -> list[T] | None:
    """Bring what each process collected to the main process; all processes must call it.

    Args:
        part: what this process collected.
        distributed: False if this process holds everything.

    Returns:
        The parts in the order of ranks; None on processes other than the main one.
    """
    if not distributed:
        return [part]
    synchronize()
    parts = gather(part, dst=0)
    return parts if is_main_process() else None
