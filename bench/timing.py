"""Which way of a competitor is fastest, and rates from interleaved rounds."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bench.problem import Problem, Run, Weights
    from bench.rivals.base import Competitor

CHECKED_STEPS = 22
"""Steps after which competitors must agree; no multiple of 4, so that unrolled loops have a rest."""
_TRIALS = 3
_QUIET = 0.1


@dataclass(frozen=True)
class Entry:
    """A competitor made ready for a problem."""

    run: Run
    """The fastest of its ways."""
    way: str
    first_call: float
    """Seconds of its first call, which may compile."""
    tried: dict[str, float] = field(default_factory=dict)
    """Run-steps per second of every way, in a short trial."""


def enter(
    competitor: Competitor, problem: Problem, reference: Weights | None, seconds: float
) -> Entry:
    """Compile and check the competitor's ways, and take the one that is fastest in short trials.

    Raises
    ------
    AssertionError
        If weights after a few steps are not those of `reference`, to rtol 1e-8.
    """
    runs, first_calls, measures = competitor.prepare(problem), {}, {}
    for way, run in runs.items():
        begin = perf_counter()
        weights = run(CHECKED_STEPS)
        first_calls[way] = perf_counter() - begin
        for layer, expected in zip(weights, reference or weights, strict=True):
            np.testing.assert_allclose(
                layer, expected, rtol=1e-8, atol=1e-12, err_msg=f"{competitor.name}, {way}"
            )
    if len(runs) > 1:
        measures = {way: rate_of(run, problem, seconds / 5) for way, run in runs.items()}
    trials = race(measures, _TRIALS)
    tried = {way: max(rates) for way, rates in trials.rates.items()}
    best = max(runs, key=lambda way: tried.get(way, 0.0))
    return Entry(runs[best], best, first_calls[best], tried)


def rate_of(run: Run, problem: Problem, seconds: float) -> Callable[[], float]:
    """Return a function that trains for about `seconds` and returns run-steps per second."""
    n_steps, elapsed = 8, 0.0
    while elapsed < seconds / 4:
        n_steps *= 2
        # The faster of two: one that waited for a processor would end the search too soon.
        elapsed = min(_time(run, n_steps) for _ in range(2))
    n_steps = max(1, round(n_steps * seconds / elapsed))
    return lambda: problem.batch * n_steps / _time(run, n_steps)


def rate_of_steps(run: Run, problem: Problem, n_steps: int) -> Callable[[], float]:
    """Return a function that trains for `n_steps` and returns run-steps per second."""
    return lambda: problem.batch * n_steps / _time(run, n_steps)


def _time(run: Run, n_steps: int) -> float:
    begin = perf_counter()
    weights = run(n_steps)
    elapsed = perf_counter() - begin
    if not all(np.isfinite(layer).all() for layer in weights):
        msg = f"training diverged within {n_steps} steps: its time means nothing"
        raise FloatingPointError(msg)
    return elapsed


@dataclass(frozen=True)
class Race:
    """Rates of competitors that took turns."""

    rates: dict[str, list[float]]
    """Per competitor and round."""
    others: float | None
    """Processors kept busy by other processes, the median over rounds; None where unknown."""


def race(measures: Mapping[str, Callable[[], float]], rounds: int, *, alone: bool = True) -> Race:
    """Measure each rate once a round, so that a slow spell of the machine meets all alike.

    A round in which other processes kept more than a tenth of a processor busy is kept but followed
    by one more round, up to three times as many rounds as asked for. Not alone: other processes
    belong to what is measured, and are not looked at.
    """
    rates: dict[str, list[float]] = {name: [] for name in measures}
    others: list[float] = []
    n_disturbed = 0
    while len(others) < min(rounds + (n_disturbed if alone else 0), 3 * rounds):
        begin, busy = perf_counter(), _busy_elsewhere()
        for name, measure in measures.items():
            rates[name].append(measure())
        others.append((_busy_elsewhere() - busy) / (perf_counter() - begin))
        n_disturbed += others[-1] > _QUIET
    return Race(rates, None if math.isnan(others[0]) or not alone else median(others))


def _busy_elsewhere() -> float:
    """Return the processor seconds that other processes have used; NaN where that is unknown."""
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").split(maxsplit=9)[1:9]
    except OSError:
        return math.nan
    user, nice, system, _idle, _waiting, irq, softirq, steal = map(int, fields)
    busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return busy - sum(os.times()[:2])


def best_ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """Return the ratio of the best rates."""
    return max(over) / max(under)


def median_ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """Return the median over rounds of the ratio within a round."""
    return median(a / b for a, b in zip(over, under, strict=True))
