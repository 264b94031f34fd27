"""Bounds on what a test takes: memory above the start, and time."""

import ctypes
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
# Issue 15: what a refused file may take above the start.
MAX_MIB, MAX_SECONDS = 300, 30


def _mib(field: str) -> float:
    lines = _STATUS.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


@contextmanager
def bounded(mib: float = MAX_MIB, seconds: float = MAX_SECONDS) -> Iterator[None]:
    """Fail if the block takes more memory at its peak, or more time.

    The peak is the kernel's own (VmHWM, put back to what is resident now by writing to clear_refs);
    without Linux's /proc only the time is looked at.

    Args:
        mib: above what was resident at the start.
        seconds: of the block; generous, so that only what waits or explodes fails.
    """
    gc.collect()
    # Free memory that the allocator keeps is resident, and would be taken without any growth.
    release = getattr(ctypes.CDLL(None), "malloc_trim", None) if _CLEAR.exists() else None
    if release is not None:
        release(0)
    start = None
    try:
        _CLEAR.write_text("5")
        start = _mib("VmRSS")
    except OSError:
        pass
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took < seconds, f"took {took:.0f} s, at most {seconds} are allowed"
    if start is not None:
        grown = _mib("VmHWM") - start
        assert grown < mib, f"took {grown:.0f} MiB above the start, at most {mib} are allowed"
