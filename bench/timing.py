"""Which way of a competitor is fastest, and rates from interleaved rounds."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bench.problem import Array, Run, Weights

CHECKED_STEPS = 22
"""Steps after which competitors must agree; no multiple of 4, so that unrolled loops have a rest."""
_TRIALS = 3
_QUIET = 0.1


_Way = TypeVar("_Way")


@dataclass(frozen=True)
class Settings:
    """How long and against whom."""

    n_threads: int
    rounds: int
    seconds: float
    """Length of one competitor's turn in a round."""
    rivals: Sequence[str]
    repeat_disturbed: bool = True
    """Whether rounds in which other processes were busy are followed by more."""


@dataclass(frozen=True)
class Entry:
    """A competitor made ready for a race."""

    measure: Callable[[], float]
    """Works for a while by the fastest of its ways, and returns a rate."""
    way: str
    first_call: float
    """Seconds of the first call of that way, which may compile."""
    tried: dict[str, float] = field(default_factory=dict)
    """The rate of every way, in a short trial."""

    @property
    def told(self) -> dict[str, Any]:
        """What the report says of the ways."""
        return {"way": self.way, "first_call": self.first_call, "tried": self.tried}


def fastest(
    name: str,
    ways: Mapping[str, _Way],
    call: Callable[[_Way], Sequence[Array]],
    expected: Sequence[Array] | None,
    rate_for: Callable[[_Way, float], Callable[[], float]],
    settings: Settings,
    rtol: float = 1e-8,
) -> Entry:
    """Compile and check a competitor's ways, and take the one that is fastest in short trials.

    `call` runs a way for the first time; `rate_for` gives a measure of its rate that takes about so
    many seconds.

    Raises
    ------
    AssertionError
        If the arrays that `call` returns are not those expected, if any are.
    """
    first_calls = {}
    for way, run in ways.items():
        begin = perf_counter()
        found = call(run)
        first_calls[way] = perf_counter() - begin
        for own, theirs in zip(expected or found, found, strict=True):
            np.testing.assert_allclose(theirs, own, rtol=rtol, atol=1e-12, err_msg=f"{name}, {way}")
    several = ways if len(ways) > 1 else {}
    measures = {way: rate_for(run, settings.seconds / 5) for way, run in several.items()}
    trials = race(measures, replace(settings, rounds=min(settings.rounds, _TRIALS)))
    tried = {way: max(rates) for way, rates in trials.rates.items()}
    best = max(ways, key=lambda way: tried.get(way, 0.0))
    return Entry(rate_for(ways[best], settings.seconds), best, first_calls[best], tried)


def enter(
    name: str, ways: Mapping[str, Run], expected: Weights | None, batch: int, settings: Settings
) -> Entry:
    """Return the fastest way to train, all being checked by the weights after `CHECKED_STEPS` steps.

    Raises
    ------
    AssertionError
        If weights are not those expected, to rtol 1e-8.
    """
    return fastest(
        name,
        ways,
        lambda run: run(CHECKED_STEPS),
        expected,
        lambda run, seconds: rate_of(run, batch, seconds),
        settings,
    )


def rate_of(run: Run, batch: int, seconds: float) -> Callable[[], float]:
    """Return a function that trains for about `seconds` and returns run-steps per second."""
    n_steps, elapsed = 8, 0.0
    while elapsed < seconds / 4:
        n_steps *= 2
        # The faster of two: one that waited for a processor would end the search too soon.
        elapsed = min(_time(run, n_steps) for _ in range(2))
    return rate_of_steps(run, batch, max(1, round(n_steps * seconds / elapsed)))


def rate_of_steps(run: Run, batch: int, n_steps: int) -> Callable[[], float]:
    """Return a function that trains for `n_steps` and returns run-steps per second."""
    return lambda: batch * n_steps / _time(run, n_steps)


def results_per_second(run: Callable[[], Array], seconds: float) -> Callable[[], float]:
    """Return a function that works for about `seconds`; a call of `run` gives several results."""

    def measure() -> float:
        begin, n_results = perf_counter(), 0
        while n_results == 0 or perf_counter() - begin < seconds:
            n_results += len(run())
        return n_results / (perf_counter() - begin)

    return measure


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


def race(
    measures: Mapping[str, Callable[[], float]], settings: Settings, *, alone: bool = True
) -> Race:
    """Measure each rate once a round, so that a slow spell of the machine meets all alike.

    A round in which other processes kept more than a tenth of a processor busy is kept but followed
    by one more round where the settings say so, up to three times as many rounds as asked for. Not
    alone: other processes
    belong to what is measured, and are not looked at.
    """
    rates: dict[str, list[float]] = {name: [] for name in measures}
    others: list[float] = []
    n_disturbed = 0
    rounds = settings.rounds
    repeated = 2 * rounds if alone and settings.repeat_disturbed else 0
    while len(others) < rounds + min(n_disturbed, repeated):
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
