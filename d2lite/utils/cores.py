"""usable_cores: how much of the processor this process gets."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_ROOT = Path("/")


def usable_cores() -> int:
    """Cores that this process may use: those it is bound to, or fewer by a container's quota.

    Returns:
        At least 1; a quota of 1.5 cores counts as 2.
    """
    return min([bound_cores(), *_quotas()])


def bound_cores() -> int:
    """Cores that the process may run on, whatever share of their time it gets."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas() -> Iterator[int]:
    """Cores' worth of time that Linux gives the control groups which this process is in."""
    with suppress(OSError, UnicodeDecodeError):
        for line in (_ROOT / "proc/self/cgroup").read_text().splitlines():
            _, _, rest = line.partition(":")
            controllers, _, group = rest.partition(":")
            if not controllers:
                yield from _quotas_of(_ROOT / "sys/fs/cgroup", group, "cpu.max")
            elif "cpu" in controllers.split(","):
                root = _ROOT / "sys/fs/cgroup/cpu"
                yield from _quotas_of(root, group, "cpu.cfs_quota_us", "cpu.cfs_period_us")


def _quotas_of(root: Path, group: str, *files: str) -> Iterator[int]:
    """The quotas of a group and of those around it, of which each is a limit."""
    # In a container the group may be named from outside, and only the root is there.
    folder = root / group.strip("/")
    while folder.is_relative_to(root):
        with suppress(OSError, ValueError):
            text = " ".join((folder / name).read_text() for name in files)
            quota, period = map(int, text.split())
            if quota > 0 and period > 0:
                yield -(-quota // period)
        folder = folder.parent
