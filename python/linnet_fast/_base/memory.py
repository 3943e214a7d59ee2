"""How much memory this process may take, by what control groups allow, and what would be too much.

Without the compiled core, which the reference does not know.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
_MOST_BYTES = 2**62
_ALWAYS_FITS = 2**26


def available() -> int | None:
    """Return the bytes of memory that this process may still take, or None if that is unknown."""
    limits = []
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        line = next(one for one in lines if one.startswith("MemAvailable:"))
        limits.append(int(line.split()[1]) * 1024)
    for folder in control_groups("memory"):
        found = (number(folder / name) for name in ("memory.max", "memory.limit_in_bytes"))
        limits += [int(limit) for limit in found if limit is not None]
    return min(limits, default=None)


def exceeded(n_bytes: int) -> int | None:
    """Return how much memory there is, if that is less than so many bytes; else None."""
    if n_bytes <= _ALWAYS_FITS:  # asking the system takes as long as a small task
        return None
    known = available()
    limit = _MOST_BYTES if known is None else min(known, _MOST_BYTES)
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


def control_groups(controller: str) -> list[Path]:
    """Return where the limits of a controller may stand: of this process's group and all above it.

    Each of them holds. Groups of version 2 are in one tree, those of version 1 in one per controller;
    in a container, what is the root here may be a group further down to the system.
    """
    own = {"": "/", controller: "/"}
    with contextlib.suppress(OSError):
        for line in OWN_CGROUPS.read_text().splitlines():
            _, _, rest = line.partition(":")
            names, _, path = rest.partition(":")
            if not names or controller in names.split(","):
                own[controller if names else ""] = path
    folders = []
    for tree, path in own.items():
        parts = [part for part in path.split("/") if part not in ("", ".", "..")]
        root = CGROUP / tree
        folders += [root.joinpath(*parts[:n]) for n in range(len(parts), -1, -1)]
    return folders


def number(file: Path) -> float | None:
    """Return the number that a file holds, or None if it holds none."""
    try:
        return float(file.read_text())
    except (OSError, ValueError):
        return None
