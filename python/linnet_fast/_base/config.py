"""What this installation is and what it found on this machine."""

from __future__ import annotations

import platform
from datetime import UTC, datetime

import numpy as np
import scipy

from linnet_fast import _core
from linnet_fast._base import machine
from linnet_fast._core import levels


def config() -> dict[str, str | int]:
    """Return versions, instruction set, threads and compiler.

    Returns
    -------
    dict
        What `show_config` prints, by name.

    Examples
    --------
    >>> sorted(config())[:3]
    ['built_for', 'compiler', 'eigen']
    """
    info = _core.build_info()
    return {
        "version": info["version"],
        "instruction_set": info["isa"],
        "built_for": ", ".join(levels.built()),
        "float64_lanes": info["float64_lanes"],
        "threads": machine.n_threads(),
        "thread_backend": info["threads"],
        "compiler": info["compiler"],
        "eigen": info["eigen"],
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "platform": platform.platform(),
    }


def provenance() -> dict[str, str | int]:
    """Return by what a result is made, and when: part of every result.

    Returns
    -------
    dict
        Versions, instruction set, compiler, platform, and the time.

    Examples
    --------
    >>> sorted(provenance())
    ['compiler', 'created', 'isa', 'numpy', 'platform', 'python', 'version']
    """
    configuration = config()
    return {
        "version": configuration["version"],
        "isa": configuration["instruction_set"],
        "compiler": configuration["compiler"],
        "python": configuration["python"],
        "numpy": configuration["numpy"],
        "platform": configuration["platform"],
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def show_config() -> None:
    """Print versions, instruction set, threads and compiler: put it into bug reports.

    On x86-64 the environment variable ``LINNET_FAST_ISA`` (v2, v3 or v4) chooses another instruction
    set when the library is imported, if it was built for that too: wheels are built for all, a build
    from source for the processor at hand.
    """
    own = config()
    if own["built_for"] in {"v2", "v3", "v4"}:
        own["built_for"] = f"{own['built_for']} only; for every processor: {levels.BUILD_ALL}"
    for name, value in own.items():
        print(f"{name:16} {value}")  # noqa: T201  (printing is what it is for)
