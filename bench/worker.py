"""Measures one section in a process of its own, whose environment fixes the threads."""

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
from typing import Any

from bench.rivals import RIVALS
from bench.sections.base import Row, Settings
from bench.sections.registry import MEASURES
from linnet_fast.config import config


def main() -> None:
    """Read a job as JSON from standard input; write rows and machine to the file it names."""
    job = json.load(sys.stdin)
    settings = Settings(**job["settings"])
    if hasattr(os, "sched_setaffinity"):
        # The one way to hold XLA, which has no setting for its threads, to as many as the others.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: settings.n_threads])
    rows = []
    for goal in job["goals"]:
        for row in MEASURES[job["section"]](goal, settings):
            rows.append(row)
            case = ", ".join(f"{name} {number}" for name, number in row.case.items())
            best = ", ".join(f"{name} {max(rates):.3g}" for name, rates in row.rates.items())
            sys.stderr.write(f"{job['section']}: {case}: {best}\n")
            sys.stderr.flush()
    Path(job["output"]).write_text(json.dumps(as_result(rows)), encoding="utf-8")


def as_result(rows: list[Row]) -> dict[str, Any]:
    """Return what the report needs to know: the rows, and where they were measured."""
    versions = {}
    for package in RIVALS:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    machine = {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "linnet_fast": config(),
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
