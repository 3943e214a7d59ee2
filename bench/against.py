"""Two builds of the library beside each other: our own rows, by processes of each in turn."""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.process import measured
from bench.report import case_name, rate_text, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bench.timing import Settings

SECTIONS = ("batched", "single", "flow", "chain", "binary")
"""Those that are compared unless others are named."""
_TURNS = 3
"""Times that a process measures each row."""
_Key = tuple[str, str, str]


class SameLibraryError(Exception):
    """There is nothing to compare: both processes import the same library."""


def compare(
    other: Path, goals: Mapping[str, list[dict[str, Any]]], settings: Settings, *, quick: bool
) -> tuple[str, float]:
    """Measure this library and another in alternating processes.

    Parameters
    ----------
    other
        A folder that holds the other `linnet_fast`, or a Python that imports it.
    goals
        Rows of goals.toml, by section.
    settings
        `rounds` is the number of processes for each library and section; no rivals run.
    quick
        Whether this is a smoke run.

    Returns
    -------
    text : str
        A table with the ratio of the least times for every row, and whether the machine was quiet.
    worst : float
        The largest ratio, of our time over that of the other.

    Raises
    ------
    SameLibraryError
        If both are the same library.
    MeasuringError
        If a process fails.
    """
    job = replace(settings, rounds=_TURNS, rivals=(), repeat_disturbed=False)
    libraries = {"this": None, "other": other}
    builds: dict[str, dict[str, Any]] = {}
    best: dict[str, dict[_Key, float]] = {"this": {}, "other": {}}
    busy: list[float] = []
    for turn in range(settings.rounds):
        for section, rows in goals.items():
            for name in sorted(libraries, reverse=bool(turn % 2)):
                results = measured(
                    {section: _without_rivals(rows)}, job, quick=quick, library=libraries[name]
                )
                measured_rows = results[section]["rows"]
                builds[name] = results[section]["machine"]["linnet_fast"]
                busy += [row["others"] for row in measured_rows if row["others"] is not None]
                for key, rate in _rates(section, measured_rows).items():
                    best[name][key] = max(rate, best[name].get(key, 0.0))
            if builds["this"]["path"] == builds["other"]["path"]:
                msg = f"both are {builds['this']['path']}"
                raise SameLibraryError(msg)
    ratios = {key: best["other"][key] / rate for key, rate in best["this"].items()}
    head = ["section", "row", "rate of", "this", "other", "time over the other's"]
    body = [
        [*key, rate_text(rate), rate_text(best["other"][key]), f"{ratios[key]:.3f}"]
        for key, rate in best["this"].items()
    ]
    lines = [
        f"{name}: {build['path']} ({build['isa']}, {build['compiler']})"
        for name, build in sorted(builds.items(), reverse=True)
    ]
    if busy:
        lines.append(f"processors that others kept busy: {median(busy):.2f}, should be near 0")
    return "\n".join([*lines, "", table(head, body), ""]), max(ratios.values())


def _without_rivals(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Drop rows that differ from one before in rival and goal only: no rival runs."""
    cases: dict[str, dict[str, Any]] = {}
    for row in rows:
        case = {key: value for key, value in row.items() if key not in ("rival", "goal")}
        cases.setdefault(str(case), row)
    return list(cases.values())


def _rates(section: str, rows: Sequence[Mapping[str, Any]]) -> dict[_Key, float]:
    return {
        (section, case_name(row["case"]), name): max(rates)
        for row in rows
        for name, rates in row["rates"].items()
    }
