"""Sweeps that keep the last loss of many small runs: us, and the fastest way of each rival."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

import linnet_fast as lf
from bench.rivals.sweeps import SWEEP_RIVALS
from bench.sections.sweep_problem import spec_of
from bench.timing import race

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.problem import Array, Weights
    from bench.rivals.sweeps.base import Way
    from bench.sections.sweep_problem import SweepProblem

_CHECKED_RUNS = 24
_TRIALS = 2


def ours(problem: SweepProblem) -> Callable[[], Array]:
    """Return the sweep by linnet_fast; it gives the last losses of all runs."""
    spec = spec_of(problem)

    def run() -> Array:
        data = lf.sweep(spec, progress=False, n_threads=problem.n_threads)
        return data["final_loss"].to_numpy().ravel()

    return run


def train_ours(problem: SweepProblem, starts: Weights) -> Array:
    """Return the last losses of the runs from given starts, by ``linnet_fast.train``."""
    trajectory = lf.train(
        lf.Dense((problem.width,) * 3),
        problem.loss,
        starts,
        method=lf.GradientDescent(problem.step_sizes),
        n_steps=problem.n_steps,
        record=lf.Record.at([problem.n_steps], observables=("loss",)),
        n_threads=problem.n_threads,
    )
    return np.asarray(trajectory.loss[:, 0])


@dataclass(frozen=True)
class Entry:
    """A rival made ready for a sweep."""

    measure: Callable[[], float]
    """Trains for a while, and returns runs per second."""
    way: str
    first_call: float
    """Seconds of the first call of the way, which may compile."""
    tried: dict[str, float]
    """Runs per second of every way, in short trials."""


def enter(rival: str, problem: SweepProblem, seconds: float) -> Entry:
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
    expected = train_ours(few, starts)
    ways, first_calls = SWEEP_RIVALS[rival](problem), {}
    for name, way in ways.items():
        begin = perf_counter()
        losses = way.sweep(few.n_runs, starts)
        first_calls[name] = perf_counter() - begin
        np.testing.assert_allclose(losses, expected, rtol=1e-8, err_msg=f"{rival}, {name}")
    trials = race(
        {name: runs_per_second(way, problem, seconds / 5) for name, way in ways.items()}, _TRIALS
    )
    tried = {name: max(rates) for name, rates in trials.rates.items()}
    best = max(tried, key=lambda name: tried[name])
    return Entry(runs_per_second(ways[best], problem, seconds), best, first_calls[best], tried)


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
