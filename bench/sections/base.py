"""What each section of the benchmark measures."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from bench.ours import Ours, training
from bench.problem import make_problem
from bench.rivals import RIVALS
from bench.rivals.sweeps import SWEEP_RIVALS
from bench.rivals.sweeps import available as sweep_available
from bench.sections.binary import BINARY_RIVALS, make_binary_problem
from bench.sections.binary import available as binary_available
from bench.sections.binary import ours as ours_binary
from bench.sections.chain import CHAIN_RIVALS, fastest, make_chain_problem, steps_per_second
from bench.sections.chain import CHECKED_STEPS as CHECKED_CHAIN_STEPS
from bench.sections.chain import available as chain_available
from bench.sections.chain import ours as ours_chain
from bench.sections.cost import available as cost_available
from bench.sections.cost import costs_per_second, make_cost_problem
from bench.sections.cost import fastest as fastest_cost
from bench.sections.cost import ours as ours_cost
from bench.sections.flow import FLOW_RIVALS, make_flow_problem, runs_per_second
from bench.sections.flow import available as flow_available
from bench.sections.flow import ours as ours_flow
from bench.sections.sweep import enter as enter_sweep
from bench.sections.sweep import ours as ours_sweep
from bench.sections.sweep_engines import by_hand, by_workers, in_memory, peak_gib, to_store
from bench.sections.sweep_problem import make_sweep_problem
from bench.timing import (
    CHECKED_STEPS,
    best_ratio,
    enter,
    median_ratio,
    race,
    rate_of,
    rate_of_steps,
)
from linnet_fast import _core

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from bench.problem import Problem
    from bench.sections.sweep_problem import SweepProblem
    from bench.timing import Entry, Race

Goal: TypeAlias = "Mapping[str, Any]"
"""A row of goals.toml."""


@dataclass(frozen=True)
class Settings:
    """How long and against whom."""

    n_threads: int
    rounds: int
    seconds: float
    rivals: Sequence[str]


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


def _enter(problem: Problem, settings: Settings) -> tuple[dict[str, Entry], list[str]]:
    """Return us and the installed rivals, made ready and checked against us, and the missing."""
    ours = enter(Ours(), problem, None, settings.seconds)
    reference = ours.run(CHECKED_STEPS)
    entries, missing = {Ours.name: ours}, []
    for name in settings.rivals:
        rival = RIVALS[name]()
        if rival.available():
            entries[name] = enter(rival, problem, reference, settings.seconds)
        else:
            missing.append(name)
    return entries, missing


def _against_rivals(problem: Problem, goal: float, settings: Settings) -> Row:
    entries, missing = _enter(problem, settings)
    result = race(
        {name: rate_of(entry.run, problem, settings.seconds) for name, entry in entries.items()},
        settings.rounds,
    )
    rates = result.rates
    ours = rates[Ours.name]
    rivals = {name: values for name, values in rates.items() if name != Ours.name}
    best = max(rivals, key=lambda name: max(rivals[name]), default=None)
    return Row(
        case={"m": problem.width, "batch": problem.batch},
        goal=goal,
        rates=rates,
        value=best_ratio(ours, rivals[best]) if best else None,
        median=median_ratio(ours, rivals[best]) if best else None,
        others=result.others,
        missing=missing,
        best_rival=best,
        beside={"over jax": best_ratio(ours, rivals["jax"])} if "jax" in rivals else {},
        entries={
            name: {"way": entry.way, "first_call": entry.first_call, "tried": entry.tried}
            for name, entry in entries.items()
        },
    )


def _batched(goal: Goal, settings: Settings) -> Iterator[Row]:
    problem = make_problem(goal["m"], goal["batch"], n_threads=settings.n_threads)
    yield _against_rivals(problem, goal["goal"], settings)


def _single(goal: Goal, settings: Settings) -> Iterator[Row]:
    problem = make_problem(goal["m"], 1, n_threads=settings.n_threads)
    yield _against_rivals(problem, goal["goal"], settings)


def _depth(goal: Goal, settings: Settings) -> Iterator[Row]:
    def at(n_layers: int) -> Row:
        problem = make_problem(
            goal["m"], goal["batch"], n_layers=n_layers, n_threads=settings.n_threads
        )
        return _against_rivals(problem, goal["goal"], settings)

    two = at(2)
    for n_layers in goal["n_layers"]:
        row = at(n_layers)
        beside = dict(row.beside)
        if row.value and two.value:
            beside = {"over best": row.value, "so for L = 2": two.value, **beside}
        yield replace(
            row,
            case={**row.case, "L": n_layers},
            value=row.value / two.value if row.value and two.value else None,
            median=row.median / two.median if row.median and two.median else None,
            beside=beside,
        )


def _own(goal: Goal, result: Race, over: str, under: str, **beside: float) -> Row:
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


def _float32(goal: Goal, settings: Settings) -> Iterator[Row]:
    measures = {}
    for dtype in ("float64", "float32"):
        problem = make_problem(goal["m"], goal["batch"], dtype=dtype, n_threads=settings.n_threads)
        measures[dtype] = rate_of(training(problem), problem, settings.seconds)
    yield _own(goal, race(measures, settings.rounds), "float32", "float64")


def _peak(goal: Goal, settings: Settings) -> Iterator[Row]:
    problem = make_problem(goal["m"], goal["batch"], n_threads=settings.n_threads)
    rate = rate_of(training(problem), problem, settings.seconds)
    result = race(
        {
            "our flop/s": lambda: problem.flops * rate(),
            "peak flop/s": lambda: _core.fma_peak(settings.n_threads, settings.seconds, "float64"),
        },
        settings.rounds,
    )
    yield _own(goal, result, "our flop/s", "peak flop/s")


def _records(goal: Goal, settings: Settings) -> Iterator[Row]:
    problem = make_problem(goal["m"], goal["batch"], n_threads=settings.n_threads)
    runs = {"none": training(problem), "records": training(problem, goal["n_records"])}
    result = race(
        {name: rate_of_steps(run, problem, goal["n_steps"]) for name, run in runs.items()},
        settings.rounds,
    )
    row = _own(goal, result, "none", "records")
    # From a ratio of rates to the share of time that is added.
    yield replace(row, value=(row.value or 1) - 1, median=(row.median or 1) - 1)


def _threads(goal: Goal, settings: Settings) -> Iterator[Row]:
    measures = {}
    for name, n_threads in (("1 thread", 1), ("all threads", settings.n_threads)):
        problem = make_problem(goal["m"], goal["batch"], n_threads=n_threads)
        measures[name] = rate_of(training(problem), problem, settings.seconds)
    yield _own(goal, race(measures, settings.rounds), "all threads", "1 thread")


def _over_rival(
    case: dict[str, int | str],
    goal: Goal,
    result: Race,
    entries: dict[str, dict[str, Any]] | None = None,
) -> Row:
    """Return a row about us over the one rival that the goal names."""
    rates, rival = result.rates, goal["rival"]
    against = rates.get(rival)
    return Row(
        case=case,
        goal=goal["goal"],
        rates=rates,
        value=best_ratio(rates[Ours.name], against) if against else None,
        median=median_ratio(rates[Ours.name], against) if against else None,
        others=result.others,
        missing=[] if against else [rival],
        best_rival=rival if against else None,
        entries=entries or {},
    )


def _flow(goal: Goal, settings: Settings) -> Iterator[Row]:
    rival = goal["rival"]
    problem = make_flow_problem(goal["m"], goal["batch"], settings.n_threads)
    runs = {Ours.name: ours_flow(problem)}
    if flow_available(rival):
        runs[rival] = FLOW_RIVALS[rival](problem)
    begin = perf_counter()
    first = {name: (run(), perf_counter() - begin) for name, run in runs.items()}
    expected = first[Ours.name][0]
    for product, _ in first.values():
        np.testing.assert_allclose(product, expected[: len(product)], atol=1e-5, err_msg=rival)
    result = race(
        {name: runs_per_second(run, settings.seconds) for name, run in runs.items()},
        settings.rounds,
    )
    yield _over_rival({"m": goal["m"], "batch": problem.batch}, goal, result)


def _chain(goal: Goal, settings: Settings) -> Iterator[Row]:
    problem = make_chain_problem(
        goal["family"],
        goal["d"],
        goal["L"],
        goal["k"],
        goal["batch"],
        settings.n_threads,
        white=goal["inputs"] == "white",
    )
    rival = goal["rival"]
    runs = {Ours.name: ours_chain(problem)}
    entries = {}
    if chain_available(rival):
        expected = runs[Ours.name](CHECKED_CHAIN_STEPS)
        runs[rival], way, tried, first_call = fastest(
            problem, expected, CHAIN_RIVALS[rival](problem), settings.seconds
        )
        entries[rival] = {"way": way, "first_call": first_call, "tried": tried}
    result = race(
        {name: steps_per_second(run, problem, settings.seconds) for name, run in runs.items()},
        settings.rounds,
    )
    yield _over_rival(
        {key: goal[key] for key in ("family", "inputs", "d", "L", "k", "batch")},
        goal,
        result,
        entries,
    )


def _binary(goal: Goal, settings: Settings) -> Iterator[Row]:
    problem = make_binary_problem(
        goal["d"], goal["hidden"], goal["L"], goal["n"], goal["batch"], settings.n_threads
    )
    rival = goal["rival"]
    runs = {Ours.name: ours_binary(problem)}
    entries = {}
    if binary_available(rival):
        expected = runs[Ours.name](CHECKED_CHAIN_STEPS)
        runs[rival], way, tried, first_call = fastest(
            problem, expected, BINARY_RIVALS[rival](problem), settings.seconds
        )
        entries[rival] = {"way": way, "first_call": first_call, "tried": tried}
    result = race(
        {name: steps_per_second(run, problem, settings.seconds) for name, run in runs.items()},
        settings.rounds,
    )
    case = {key: goal[key] for key in ("d", "hidden", "L", "n", "batch")}
    yield _over_rival(case, goal, result, entries)


def _sweep(goal: Goal, settings: Settings) -> Iterator[Row]:
    problem = _sweep_of(goal, settings)
    sweep = ours_sweep(problem)
    sweep()

    def ours() -> float:  # all of it: only rivals, which are slower, may do a part
        begin = perf_counter()
        sweep()
        return problem.n_runs / (perf_counter() - begin)

    measures, entries, missing = {Ours.name: ours}, {}, []
    for name in SWEEP_RIVALS:
        if (name if name in RIVALS else "numpy") not in settings.rivals:  # joblib runs NumPy
            continue
        if not sweep_available(name):
            missing.append(name)
            continue
        entry = enter_sweep(name, problem, settings.seconds)
        measures[name] = entry.measure
        entries[name] = {"way": entry.way, "first_call": entry.first_call, "tried": entry.tried}
    result = race(measures, settings.rounds)
    rates = dict(result.rates)
    own = rates[Ours.name]
    rivals = {name: rates[name] for name in entries}
    best = max(rivals, key=lambda name: max(rivals[name]), default=None)
    yield Row(
        case={key: goal[key] for key in ("m", "n_runs", "n_steps")},
        goal=goal["goal"],
        rates=rates,
        value=best_ratio(own, rivals[best]) if best else None,
        median=median_ratio(own, rivals[best]) if best else None,
        others=result.others,
        missing=missing,
        best_rival=best,
        beside={f"over {name}": best_ratio(own, values) for name, values in rivals.items()},
        entries=entries,
    )


def _sweep_of(goal: Goal, settings: Settings) -> SweepProblem:
    return make_sweep_problem(goal["m"], goal["n_runs"], goal["n_steps"], settings.n_threads)


def _sweep_layer(goal: Goal, settings: Settings) -> Iterator[Row]:
    problem = _sweep_of(goal, settings)
    with tempfile.TemporaryDirectory() as folder:
        sweep = to_store(problem, Path(folder)) if goal["store"] == "zarr" else in_memory(problem)
        sweep()
        result = race({"train": by_hand(problem), "sweep": sweep}, settings.rounds)
    row = _own(goal, result, "train", "sweep")
    yield replace(row, value=(row.value or 1) - 1, median=(row.median or 1) - 1)


def _sweep_million(goal: Goal, settings: Settings) -> Iterator[Row]:
    problem = _sweep_of(goal, settings)
    result = race({"sweep": in_memory(problem)}, min(settings.rounds, 3))
    rates = result.rates["sweep"]
    yield Row(
        case={key: goal[key] for key in ("m", "n_runs", "n_steps")},
        goal=goal["goal"],
        rates=result.rates,
        value=problem.n_runs / max(rates),
        median=problem.n_runs / median(rates),
        others=result.others,
        beside={"GiB": peak_gib()},
    )


def _sweep_workers(goal: Goal, settings: Settings) -> Iterator[Row]:
    problem = _sweep_of(goal, settings)
    with (
        tempfile.TemporaryDirectory() as folder,
        by_workers(goal["engine"], problem, Path(folder)) as workers,
    ):
        workers()
        measures = {"threads": to_store(problem, Path(folder)), "workers": workers}
        result = race(measures, settings.rounds, alone=False)
    yield _own(goal, result, "workers", "threads")


def _cost(goal: Goal, settings: Settings) -> Iterator[Row]:
    problem = make_cost_problem(goal["d"], goal["k"], 2, goal["batch"], settings.n_threads)
    rival = goal["rival"]
    runs = {Ours.name: ours_cost(problem)}
    entries = {}
    if cost_available(rival):
        runs[rival], way, tried, first_call = fastest_cost(rival, problem)
        entries[rival] = {"way": way, "first_call": first_call, "tried": tried}
    result = race(
        {name: costs_per_second(run, settings.seconds) for name, run in runs.items()},
        settings.rounds,
    )
    yield _over_rival({key: goal[key] for key in ("d", "k", "batch")}, goal, result, entries)


def _cost_depth(goal: Goal, settings: Settings) -> Iterator[Row]:
    measures = {}
    for n_layers in (2, goal["L"]):
        problem = make_cost_problem(
            goal["d"], goal["k"], n_layers, goal["batch"], settings.n_threads
        )
        measures[f"L = {n_layers}"] = costs_per_second(ours_cost(problem), settings.seconds)
    yield _own(goal, race(measures, settings.rounds), "L = 2", f"L = {goal['L']}")


MEASURES: dict[str, Callable[[Goal, Settings], Iterator[Row]]] = {
    "batched": _batched,
    "single": _single,
    "depth": _depth,
    "float32": _float32,
    "peak": _peak,
    "records": _records,
    "threads": _threads,
    "flow": _flow,
    "chain": _chain,
    "binary": _binary,
    "sweep": _sweep,
    "sweep_layer": _sweep_layer,
    "sweep_million": _sweep_million,
    "sweep_workers": _sweep_workers,
    "cost": _cost,
    "cost_depth": _cost_depth,
}
