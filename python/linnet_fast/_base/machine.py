"""What the machine offers: processors and memory that this process may use."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from linnet_fast import _core
from linnet_fast._base import validate

_CGROUP = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def n_threads() -> int:
    """Return the number of threads to use by default.

    The least of OMP_NUM_THREADS and OMP_THREAD_LIMIT, the processors this process is bound to, and the
    quota of its control groups, rounded up.
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


def available_memory() -> int | None:
    """Return the bytes of memory that this process may still take, or None if that is unknown."""
    limits = []
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable:"))
        limits.append(int(available.split()[1]) * 1024)
    for folder in _control_groups("memory"):
        numbers = (_number(folder / n) for n in ("memory.max", "memory.limit_in_bytes"))
        limits += [int(limit) for limit in numbers if limit is not None]
    return min(limits, default=None)


def _cpu_quota() -> float | None:
    """Return the processors that the control groups may use, or None if they are not limited."""
    quotas = []
    for folder in _control_groups("cpu"):
        with contextlib.suppress(OSError, ValueError):
            quota, period = map(float, (folder / "cpu.max").read_text().split())
            quotas.append(quota / period)
        quota_v1 = _number(folder / "cpu.cfs_quota_us")  # -1: none
        period_v1 = _number(folder / "cpu.cfs_period_us")
        if quota_v1 is not None and period_v1 is not None and quota_v1 > 0 and period_v1 > 0:
            quotas.append(quota_v1 / period_v1)
    return min(quotas, default=None)


def _control_groups(controller: str) -> list[Path]:
    """Return where the limits of a controller may stand: of this process's group and all above it.

    Each of them holds. Groups of version 2 are in one tree, those of version 1 in one per controller;
    in a container, what is the root here may be a group further down to the system.
    """
    own = {"": "/", controller: "/"}
    with contextlib.suppress(OSError):
        for line in _OWN_CGROUPS.read_text().splitlines():
            _, _, rest = line.partition(":")
            names, _, path = rest.partition(":")
            if not names or controller in names.split(","):
                own[controller if names else ""] = path
    folders = []
    for tree, path in own.items():
        parts = [part for part in path.split("/") if part not in ("", ".", "..")]
        root = _CGROUP / tree
        folders += [root.joinpath(*parts[:n]) for n in range(len(parts), -1, -1)]
    return folders


def _number(file: Path) -> float | None:
    try:
        return float(file.read_text())
    except (OSError, ValueError):
        return None
