"""What a section gives: rows with rates, and the ratios that the goals are about."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeAlias

from bench.ours import OURS
from bench.timing import CHECKED_STEPS, best_ratio, enter, median_ratio, race, rate_of
from linnet_fast import _core, reference

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bench.problem import Run, Weights
    from bench.timing import Entry, Race, Settings
    from linnet_fast.losses.base import Loss
    from linnet_fast.networks.chain import Chain

Goal: TypeAlias = "Mapping[str, Any]"
"""A row of goals.toml."""


@dataclass(frozen=True)
class Row:
    """One measured row: everything the tables and the JSON file show."""

    case: dict[str, int | str]
    goal: float
    rates: dict[str, list[float]]
    """Per competitor and round, in run-steps per second; in the section on the peak in flop/s."""
    value: float | None
    """What the goal is about, from best rates; None without a rival."""
    median: float | None
    """The same as a median over rounds."""
    others: float | None
    """Processors that other processes kept busy meanwhile; None where unknown."""
    missing: list[str] = field(default_factory=list)
    best_rival: str | None = None
    beside: dict[str, float] = field(default_factory=dict)
    """More ratios, by heading."""
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Per competitor: the way it took, the seconds of its first call, the ways it tried."""


def over_best(
    case: dict[str, int | str],
    goal: Goal,
    result: Race,
    entries: Mapping[str, Entry],
    missing: list[str],
    beside: Sequence[str] = (),
) -> Row:
    """Return a row about us over the best rival; and, beside that, over some of them."""
    rates = result.rates
    rivals = {name: values for name, values in rates.items() if name != OURS}
    best = max(rivals, key=lambda name: max(rivals[name]), default=None)
    return Row(
        case=case,
        goal=goal["goal"],
        rates=rates,
        value=best_ratio(rates[OURS], rivals[best]) if best else None,
        median=median_ratio(rates[OURS], rivals[best]) if best else None,
        others=result.others,
        missing=missing,
        best_rival=best,
        beside={f"over {name}": best_ratio(rates[OURS], rates[name]) for name in beside},
        entries={name: entry.told for name, entry in entries.items()},
    )


def over_best_with_peak(
    case: dict[str, int | str],
    goal: Goal,
    entries: dict[str, Entry],
    missing: list[str],
    flops: float,
    settings: Settings,
) -> Row:
    """Race; return a row about us over the best rival, with our share of the peak of multiply-adds.

    A step of a run has so many operations to do. The peak is measured between the turns.
    """
    peaks: list[float] = []

    def measured_with_peak() -> float:
        peaks.append(_core.fma_peak(settings.n_threads, settings.seconds / 4, "float64"))
        return entries[OURS].measure()

    measures = {name: entry.measure for name, entry in entries.items()}
    result = race(measures | {OURS: measured_with_peak}, settings)
    row = over_best(case, goal, result, entries, missing)
    row.beside["share of peak"] = max(result.rates[OURS]) * flops / max(peaks)
    return row


def own_ratio(goal: Goal, result: Race, over: str, under: str, **beside: float) -> Row:
    """Return a row about the ratio of two of our own rates."""
    rates = result.rates
    return Row(
        case={key: goal[key] for key in goal if key != "goal"},
        goal=goal["goal"],
        rates=rates,
        value=best_ratio(rates[over], rates[under]),
        median=median_ratio(rates[over], rates[under]),
        others=result.others,
        beside=beside,
    )


def over_rival(
    case: dict[str, int | str],
    goal: Goal,
    result: Race,
    settings: Settings,
    entries: Mapping[str, Entry] | None = None,
) -> Row:
    """Return a row about us over the one rival that the goal names."""
    rates, rival = result.rates, goal["rival"]
    against = rates.get(rival)
    return Row(
        case=case,
        goal=goal["goal"],
        rates=rates,
        value=best_ratio(rates[OURS], against) if against else None,
        median=median_ratio(rates[OURS], against) if against else None,
        others=result.others,
        missing=[] if against or rival not in settings.rivals else [rival],
        best_rival=rival if against else None,
        entries={name: entry.told for name, entry in (entries or {}).items()},
    )


def installed(rival: str) -> bool:
    """Whether a rival can run; the library's own reference always can."""
    return rival == "reference" or find_spec(rival) is not None


def competes(rival: str, settings: Settings) -> bool:
    """Whether a rival is asked for and installed."""
    return rival in settings.rivals and installed(rival)


def enter_rivals(
    rivals: Mapping[str, Callable[[Any], Mapping[str, Run]]],
    problem: Any,
    expected: Weights,
    settings: Settings,
) -> tuple[dict[str, Entry], list[str]]:
    """Return the rivals that are asked for, made ready and checked, and those that are not installed."""
    entries, missing = {}, []
    for name, ways in rivals.items():
        if competes(name, settings):
            entries[name] = enter(name, ways(problem), expected, problem.batch, settings)
        elif name in settings.rivals and not installed(name):
            missing.append(name)
    return entries, missing


def race_of_trainings(
    case: dict[str, int | str],
    goal: Goal,
    settings: Settings,
    batch: int,
    run: Run,
    ways: Callable[[str], Mapping[str, Run]],
) -> Row:
    """Return the row of our training beside the one rival that the goal names, in its best way."""
    rival = goal["rival"]
    measures, entries = {OURS: rate_of(run, batch, settings.seconds)}, {}
    if competes(rival, settings):
        entry = enter(rival, ways(rival), run(CHECKED_STEPS), batch, settings)
        measures[rival] = entry.measure
        entries[rival] = entry
    return over_rival(case, goal, race(measures, settings), settings, entries)


def reference_run(
    network: Chain, loss: Loss, weights: Weights, step_size: float, decay: float
) -> Run:
    """Return descent by the gradients of the library's reference, all runs at once in NumPy."""

    def run(n_steps: int) -> Weights:
        now = weights
        for _ in range(n_steps):
            moves = reference.gradients(now, loss, decay, network)
            now = tuple(w - step_size * g for w, g in zip(now, moves, strict=True))
        return now

    return run
