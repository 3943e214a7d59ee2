"""How much memory this process may use; without the compiled core, which the reference does not know."""

from __future__ import annotations

import contextlib
from pathlib import Path

_MOST_BYTES = 2**62
_ALWAYS_FITS = 2**26
CGROUP = Path("/sys/fs/cgroup")


def available_memory() -> int | None:
    """Return the bytes of memory that this process may still take, or None if that is unknown."""
    limits = []
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable:"))
        limits.append(int(available.split()[1]) * 1024)
    if (limit := cgroup_number("memory.max", "memory/memory.limit_in_bytes")) is not None:
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


def cgroup_number(*names: str) -> float | None:
    """Return the first of these numbers that the control group has."""
    for name in names:
        try:
            return float((CGROUP / name).read_text())
        except (OSError, ValueError):
            continue
    return None
