"""Sweeps that keep the last loss of many small runs: beside the rivals, and beside ourselves."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from bench.ours import OURS
from bench.rivals.sweeps import SWEEP_RIVALS
from bench.sections.base import Row, competes, over_best, own_ratio
from bench.sections.sweep_engines import by_hand, by_workers, in_memory, seconds_of, to_store
from bench.sections.sweep_problem import make_sweep_problem, train_ours
from bench.timing import fastest, race

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.rivals.sweeps.base import Way
    from bench.sections.base import Goal
    from bench.sections.sweep_problem import SweepProblem
    from bench.timing import Entry, Settings

_CHECKED_RUNS = 24


def enter(rival: str, problem: SweepProblem, settings: Settings) -> Entry:
    """Compile and check a rival's ways, and take the one that is fastest in short trials.

    Raises
    ------
    AssertionError
        If last losses are not ours from the same starts, to rtol 1e-8.
    FloatingPointError
        If runs diverge from the rival's own starts.
    """
    few = problem.first(min(_CHECKED_RUNS, problem.n_runs))
    starts = few.starts()
    return fastest(
        rival,
        SWEEP_RIVALS[rival](problem),
        lambda way: (way.sweep(few.n_runs, starts),),
        (train_ours(few, starts),),
        lambda way, seconds: runs_per_second(way, problem, seconds),
        settings,
    )


def runs_per_second(way: Way, problem: SweepProblem, seconds: float) -> Callable[[], float]:
    """Return a function that trains for about `seconds`, starts included: runs per second.

    It trains as many runs as that takes, in whole units and of the problem at most.
    """

    def time(n_units: int) -> tuple[int, float]:
        n_runs = min(n_units * way.unit, problem.n_runs)
        begin = perf_counter()
        losses = way.sweep(n_runs, None)
        elapsed = perf_counter() - begin
        if not np.isfinite(losses).all():
            msg = "training diverged: its time means nothing"
            raise FloatingPointError(msg)
        return n_runs, elapsed

    most = -(-problem.n_runs // way.unit)
    time(1)  # what a first call has to compile or to start
    n_units, elapsed = 1, time(1)[1]
    while elapsed < seconds / 4 and n_units < most:
        n_units *= 2
        elapsed = time(n_units)[1]
    n_units = min(most, max(1, round(n_units * seconds / elapsed)))

    def measure() -> float:
        n_runs, elapsed = time(n_units)
        return n_runs / elapsed

    return measure


def sweep(goal: Goal, settings: Settings) -> Iterator[Row]:
    """Sweep in memory, beside the rivals."""
    problem = _problem_of(goal, settings)
    ours = in_memory(problem)  # all of it: only rivals, which are slower, may do a part
    ours()
    entries, missing = {}, []
    for name in SWEEP_RIVALS:
        if competes(name, settings):
            entries[name] = enter(name, problem, settings)
        elif name in settings.rivals:
            missing.append(name)
    measures = {OURS: ours} | {name: entry.measure for name, entry in entries.items()}
    result = race(measures, settings)
    case = {key: goal[key] for key in ("m", "n_runs", "n_steps")}
    yield over_best(case, goal, result, entries, missing, beside=tuple(entries))


def _problem_of(goal: Goal, settings: Settings) -> SweepProblem:
    return make_sweep_problem(goal["m"], goal["n_runs"], goal["n_steps"], settings.n_threads)


def sweep_layer(goal: Goal, settings: Settings) -> Iterator[Row]:
    """Sweep, beside drawing the starts and training by hand."""
    problem = _problem_of(goal, settings)
    with tempfile.TemporaryDirectory() as folder:
        sweep = to_store(problem, Path(folder)) if goal["store"] == "zarr" else in_memory(problem)
        sweep()
        result = race({"train": by_hand(problem), "sweep": sweep}, settings)
    row = own_ratio(goal, result, "train", "sweep")
    yield replace(row, value=(row.value or 1) - 1, median=(row.median or 1) - 1)


def sweep_million(goal: Goal, settings: Settings) -> Iterator[Row]:
    """Sweep in memory; how long it takes, and how much memory."""
    problem = _problem_of(goal, settings)
    result = race({"sweep": in_memory(problem)}, replace(settings, rounds=min(settings.rounds, 3)))
    yield seconds_of(goal, problem.n_runs, result)


def sweep_workers(goal: Goal, settings: Settings) -> Iterator[Row]:
    """Sweep into a store by worker processes, beside the threads of one process."""
    problem = _problem_of(goal, settings)
    with (
        tempfile.TemporaryDirectory() as folder,
        by_workers(goal["engine"], problem, Path(folder)) as workers,
    ):
        workers()
        measures = {"threads": to_store(problem, Path(folder)), "workers": workers}
        result = race(measures, settings, alone=False)
    yield own_ratio(goal, result, "workers", "threads")
