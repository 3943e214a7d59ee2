"""What the machine offers: the processors that this process may use, and how they round."""

from __future__ import annotations

import contextlib
import os

from linnet_fast import _core
from linnet_fast._base import memory, validate


def n_threads() -> int:
    """Return the number of threads to use by default.

    The least of OMP_NUM_THREADS and OMP_THREAD_LIMIT, the processors this process is bound to, the
    quota of its control groups, rounded up, and what SLURM gave a task (SLURM_CPUS_PER_TASK).
    """
    limits = [_core.default_threads()]
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if given.isascii() and given.isdigit() and int(given):
        limits.append(int(given))
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


def check_rounding() -> None:
    """Refuse a thread in which another library has left a rounding mode: NumPy's results change, too.

    Subnormal numbers may be off: the core sets and restores that itself.

    Raises
    ------
    RuntimeError
        If it does not round to nearest.
    """
    if not _core.rounds_to_nearest():
        msg = (
            "this thread must round to nearest, got another rounding mode, which some library has "
            "set and not restored; fesetround(FE_TONEAREST) of C's fenv.h sets it back"
        )
        raise RuntimeError(msg)


def _cpu_quota() -> float | None:
    """Return the processors that the control groups may use, or None if they are not limited."""
    quotas = []
    for folder in memory.control_groups("cpu"):
        with contextlib.suppress(OSError, ValueError):
            quota, period = map(float, (folder / "cpu.max").read_text().split())
            quotas.append(quota / period)
        quota_v1 = memory.number(folder / "cpu.cfs_quota_us")  # -1: none
        period_v1 = memory.number(folder / "cpu.cfs_period_us")
        if quota_v1 is not None and period_v1 is not None and quota_v1 > 0 and period_v1 > 0:
            quotas.append(quota_v1 / period_v1)
    return min(quotas, default=None)
