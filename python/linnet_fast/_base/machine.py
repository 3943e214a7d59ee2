"""What the machine offers: processors and memory that this process may use."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from linnet_fast import _core
from linnet_fast._base import validate

_MOST_BYTES = 2**62
_ALWAYS_FITS = 2**26
_CGROUP = Path("/sys/fs/cgroup")


def n_threads() -> int:
    """Return the number of threads to use by default.

    The least of what OpenMP would take (it reads OMP_NUM_THREADS, and threadpoolctl sets it), the
    processors this process is bound to, and the quota of its control group, rounded up.
    """
    limits = [_core.default_threads()]
    if hasattr(os, "sched_getaffinity"):
        limits.append(len(os.sched_getaffinity(0)))
    elif (cpus := os.cpu_count()) is not None:
        limits.append(cpus)
    if (quota := _cpu_quota()) is not None:
        limits.append(-int(-quota // 1))
    return max(1, min(limits))


def checked_threads(asked: int | None) -> int:
    """Return how many threads to use: as many as asked for, by default `n_threads`."""
    return n_threads() if asked is None else validate.integer("n_threads", asked, low=1, high=2**15)


def available_memory() -> int | None:
    """Return the bytes of memory that this process may still take, or None if that is unknown."""
    limits = []
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable:"))
        limits.append(int(available.split()[1]) * 1024)
    if (limit := _cgroup_number("memory.max", "memory/memory.limit_in_bytes")) is not None:
        limits.append(int(limit))
    return min(limits, default=None)


def exceeded(n_bytes: int) -> int | None:
    """Return how much memory there is, if that is less than so many bytes; else None."""
    if n_bytes <= _ALWAYS_FITS:  # asking the system takes as long as a small task
        return None
    available = available_memory()
    limit = _MOST_BYTES if available is None else min(available, _MOST_BYTES)
    return limit if n_bytes > limit else None


def check_room(name: str, n_bytes: int) -> None:
    """Raise ValueError if what an argument asks for takes more memory than there is.

    Parameters
    ----------
    name : str
        Of the argument.
    n_bytes : int
        What it takes, about.
    """
    if (limit := exceeded(n_bytes)) is not None:
        msg = f"{name} must fit into memory, got what takes {n_bytes:,} bytes of {limit:,}"
        raise ValueError(msg)


def _cpu_quota() -> float | None:
    """Return the processors that the control group may use, or None if it is not limited."""
    try:
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        return None if quota == "max" else float(quota) / float(period)
    except (OSError, ValueError):
        pass
    quota_v1 = _cgroup_number("cpu/cpu.cfs_quota_us")
    period_v1 = _cgroup_number("cpu/cpu.cfs_period_us")
    if quota_v1 is None or period_v1 is None or quota_v1 <= 0 or period_v1 <= 0:
        return None
    return quota_v1 / period_v1


def _cgroup_number(*names: str) -> float | None:
    for name in names:
        try:
            return float((_CGROUP / name).read_text())
        except (OSError, ValueError):
            continue
    return None
