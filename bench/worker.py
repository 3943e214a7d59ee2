"""Measures sections in a process of its own, whose environment fixes the threads."""

from __future__ import annotations

import json
import os
import platform
import sys
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import linnet_fast as lf
from bench.report import case_name
from bench.rivals import NAMES
from bench.sections.registry import MEASURES
from bench.timing import Settings
from linnet_fast import _core

if TYPE_CHECKING:
    from bench.sections.base import Row


def main() -> None:
    """Read a job as JSON from standard input; write rows and machine to the file it names."""
    job = json.load(sys.stdin)
    settings = Settings(**job["settings"])
    if hasattr(os, "sched_setaffinity"):
        # The one way to hold XLA, which has no setting for its threads, to as many as the others.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: settings.n_threads])
    results = {}
    for section, goals in job["goals"].items():
        rows = []
        for goal in goals:
            for row in MEASURES[section](goal, settings):
                rows.append(row)
                best = ", ".join(f"{name} {max(rates):.3g}" for name, rates in row.rates.items())
                sys.stderr.write(f"{section}: {case_name(row.case)}: {best}\n")
                sys.stderr.flush()
        results[section] = as_result(rows)
    Path(job["output"]).write_text(json.dumps(results), encoding="utf-8")


def as_result(rows: list[Row]) -> dict[str, Any]:
    """Return what the report needs to know: the rows, and where they were measured."""
    versions = {}
    for package in NAMES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    machine = {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "linnet_fast": {"path": str(Path(lf.__file__).resolve().parent), **_core.build_info()},
        "rivals": versions,
    }
    return {"machine": machine, "rows": [asdict(row) for row in rows]}


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
