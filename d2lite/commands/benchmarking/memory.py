"""The peak of memory while something runs, above what was in use before."""

import ctypes
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

__all__ = ["peak_mib"]

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_mib(action: Callable[[], object], device: str | torch.device = "cpu") -> float | None:
    """Run something and say what it took at most.

    Args:
        action: what is run once.
        device: whose memory counts.

    Returns:
        MiB above what was in use at the start: on CUDA the tensors', on the CPU the process's;
        None where the system does not say (neither CUDA nor Linux).
    """
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
        start = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        action()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - start) / 2**20
    with suppress(OSError, AttributeError):
        # glibc keeps freed memory, which would hide what the action takes.
        ctypes.CDLL(None).malloc_trim(0)
    try:
        # Puts the kernel's peak (VmHWM) back to what is resident now.
        _CLEAR.write_text("5")
        before = _mib("VmRSS")
    except OSError:
        return None
    action()
    return max(_mib("VmHWM") - before, 0.0)


def _mib(field: str) -> float:
    lines = _STATUS.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024
