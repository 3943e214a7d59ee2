"""Dense square networks: beside the rivals, and our own rates beside each other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import linnet_fast as lf
from bench.ours import OURS, training
from bench.problem import make_problem
from bench.rivals import RIVALS
from bench.sections.base import over_best, own_ratio
from bench.timing import (
    CHECKED_STEPS,
    enter,
    race,
    rate_of,
    rate_of_steps,
)
from linnet_fast import _core

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.problem import Problem
    from bench.sections.base import Goal, Row
    from bench.timing import Settings
    from linnet_fast.methods.stepping import SteppingMethod


def _against_rivals(problem: Problem, goal: Goal, settings: Settings) -> Row:
    """Return the row of us beside the installed rivals, each checked against us."""
    run, batch = training(problem), problem.batch
    entries, missing = {OURS: enter(OURS, {"train": run}, None, batch, settings)}, []
    expected = run(CHECKED_STEPS)
    for name, rival_of in RIVALS.items():
        if name not in settings.rivals:
            continue
        rival = rival_of()
        if rival.available():
            entries[name] = enter(name, rival.prepare(problem), expected, batch, settings)
        else:
            missing.append(name)
    result = race({name: entry.measure for name, entry in entries.items()}, settings)
    case: dict[str, int | str] = {"m": problem.width, "batch": batch}
    jax = [name for name in entries if name == "jax"]
    return over_best(case, goal, result, entries, missing, beside=jax)


def batched(goal: Goal, settings: Settings) -> Iterator[Row]:
    """Train a batch, beside the rivals."""
    problem = make_problem(goal["m"], goal["batch"], n_threads=settings.n_threads)
    yield _against_rivals(problem, goal, settings)


def single(goal: Goal, settings: Settings) -> Iterator[Row]:
    """Train one run, beside the rivals."""
    problem = make_problem(goal["m"], 1, n_threads=settings.n_threads)
    yield _against_rivals(problem, goal, settings)


def depth(goal: Goal, settings: Settings) -> Iterator[Row]:
    """Train networks of other depths; how far the ratio for two layers is kept."""

    def at(n_layers: int) -> Row:
        problem = make_problem(
            goal["m"], goal["batch"], n_layers=n_layers, n_threads=settings.n_threads
        )
        return _against_rivals(problem, goal, settings)

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


def float32(goal: Goal, settings: Settings) -> Iterator[Row]:
    """Train in both precisions."""
    measures = {}
    for dtype in ("float64", "float32"):
        problem = make_problem(goal["m"], goal["batch"], dtype=dtype, n_threads=settings.n_threads)
        measures[dtype] = rate_of(training(problem), problem.batch, settings.seconds)
    yield own_ratio(goal, race(measures, settings), "float32", "float64")


def peak(goal: Goal, settings: Settings) -> Iterator[Row]:
    """Train, beside as many fused multiply-adds as the processor can do."""
    problem = make_problem(goal["m"], goal["batch"], n_threads=settings.n_threads)
    rate = rate_of(training(problem), problem.batch, settings.seconds)
    result = race(
        {
            "our flop/s": lambda: problem.flops * rate(),
            "peak flop/s": lambda: _core.fma_peak(settings.n_threads, settings.seconds, "float64"),
        },
        settings,
    )
    yield own_ratio(goal, result, "our flop/s", "peak flop/s")


def records(goal: Goal, settings: Settings) -> Iterator[Row]:
    """Train with records and without."""
    problem = make_problem(goal["m"], goal["batch"], n_threads=settings.n_threads)
    runs = {"none": training(problem), "records": training(problem, goal["n_records"])}
    result = race(
        {name: rate_of_steps(run, problem.batch, goal["n_steps"]) for name, run in runs.items()},
        settings,
    )
    row = own_ratio(goal, result, "none", "records")
    # From a ratio of rates to the share of time that is added.
    yield replace(row, value=(row.value or 1) - 1, median=(row.median or 1) - 1)


def observed(goal: Goal, settings: Settings) -> Iterator[Row]:
    """Train with records of an observable and without; what one record costs, in steps."""
    problem = make_problem(
        goal["m"], goal["batch"], n_layers=goal["L"], n_threads=settings.n_threads
    )
    recorded = training(problem, goal["n_records"], observables=(goal["observable"],))
    runs = {"none": training(problem), "records": recorded}
    result = race(
        {name: rate_of_steps(run, problem.batch, goal["n_steps"]) for name, run in runs.items()},
        settings,
    )
    row = own_ratio(goal, result, "none", "records")
    per_record = goal["n_steps"] / goal["n_records"]
    yield replace(
        row,
        value=((row.value or 1) - 1) * per_record,
        median=((row.median or 1) - 1) * per_record,
    )


# Step sizes far below what is stable: it is the steps that are timed.
METHODS: dict[str, Callable[[], SteppingMethod]] = {
    "momentum": lambda: lf.GradientDescent(1e-4, momentum=0.9),
    "adam": lambda: lf.Adam(1e-5),
    "rmsprop": lambda: lf.RMSProp(1e-5),
    "spectral": lambda: lf.SpectralDescent(1e-5),
    "muon": lambda: lf.SpectralDescent(1e-5, iterations=5),
    "sharpness-aware": lambda: lf.SharpnessAware(lf.GradientDescent(1e-4), 1e-3),
}


def methods(goal: Goal, settings: Settings) -> Iterator[Row]:
    """Train by a method and by plain descent; how many times as long a step takes."""
    problem = make_problem(goal["m"], goal["batch"], n_threads=settings.n_threads)
    runs = {"plain": training(problem)}
    runs[goal["method"]] = training(problem, method=METHODS[goal["method"]]())
    measures = {name: rate_of(run, problem.batch, settings.seconds) for name, run in runs.items()}
    yield own_ratio(goal, race(measures, settings), "plain", goal["method"])


def threads(goal: Goal, settings: Settings) -> Iterator[Row]:
    """Train on all threads and on one."""
    measures = {}
    for name, n_threads in (("1 thread", 1), ("all threads", settings.n_threads)):
        problem = make_problem(goal["m"], goal["batch"], n_threads=n_threads)
        measures[name] = rate_of(training(problem), problem.batch, settings.seconds)
    yield own_ratio(goal, race(measures, settings), "all threads", "1 thread")
