"""Reading large files without Python's search for cycles."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_garbage_collection() -> Iterator[None]:
    """Inside, and after an exception no longer, objects are freed by reference counts alone.

    Millions of new lists and dicts without a cycle make Python search all of them for cycles again
    and again: a third of the time that a large COCO file takes.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
