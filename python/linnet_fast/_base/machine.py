"""What the machine offers: processors and, by `memory`, the memory that this process may use."""

from __future__ import annotations

import os

from linnet_fast import _core
from linnet_fast._base import validate
from linnet_fast._base.memory import (
    CGROUP,
    available_memory,
    cgroup_number,
    check_room,
    exceeded,
)

__all__ = ["available_memory", "check_room", "checked_threads", "exceeded", "n_threads"]


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


def _cpu_quota() -> float | None:
    """Return the processors that the control group may use, or None if it is not limited."""
    try:
        quota, period = (CGROUP / "cpu.max").read_text().split()
        return None if quota == "max" else float(quota) / float(period)
    except (OSError, ValueError):
        pass
    quota_v1 = cgroup_number("cpu/cpu.cfs_quota_us")
    period_v1 = cgroup_number("cpu/cpu.cfs_period_us")
    if quota_v1 is None or period_v1 is None or quota_v1 <= 0 or period_v1 <= 0:
        return None
    return quota_v1 / period_v1
