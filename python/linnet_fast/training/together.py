"""Trainings whose runs are not all of one kind: those of each kind are trained by themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from linnet_fast._base.runs import noun_of, taken
from linnet_fast._base.validate import Shape
from linnet_fast.records.measures import Measure
from linnet_fast.training.call import CoreCall, Outcome
from linnet_fast.training.clock import clock_of
from linnet_fast.training.state import State

Which = npt.NDArray[np.intp]


class Part(NamedTuple):
    """Runs of one kind."""

    which: Which
    """Their numbers, in C order."""
    call: CoreCall


def parts_of(call: CoreCall, kinds: npt.NDArray[np.int64]) -> list[Part]:
    """Return the trainings of the runs of each kind, which have one run axis.

    Parameters
    ----------
    call : CoreCall
        The training.
    kinds : ndarray of int, shape (*run)
        A number for each run.
    """
    flat = kinds.reshape(-1)
    return [
        Part(which, _of_runs(call, which))
        for which in (np.flatnonzero(flat == kind) for kind in np.unique(flat))
    ]


def _of_runs(call: CoreCall, which: Which) -> CoreCall:
    runs, begin = call.runs, call.begin

    evaluate = {k: noun_of(loss, which, runs) for k, loss in call.record.evaluate.items()}
    observables = tuple(
        one.of_runs(which, runs) if isinstance(one, Measure) else one
        for one in call.record.observables
    )
    direction = call.direction
    if direction is not None:
        direction = taken(direction, 1, which, runs)
    return replace(
        call,
        loss=noun_of(call.loss, which, runs),
        begin=begin.of_runs(which),
        method=call.method.of_runs(which, runs),
        record=replace(call.record, evaluate=evaluate, observables=observables),
        stop=None if call.stop is None else noun_of(call.stop, which, runs),
        direction=direction,
    )


def merged(call: CoreCall, parts: Sequence[tuple[Which, Outcome]]) -> Outcome:
    """Return the outcome of a training from those of its parts.

    Parameters
    ----------
    call : CoreCall
        The training.
    parts : sequence of (ndarray, Outcome)
        Numbers of the runs, in C order, and what came of them.
    """
    runs = call.runs
    numbers = [which for which, _ in parts]

    def whole(pick: Callable[[Outcome], Any]) -> Any:
        return _scattered(numbers, [pick(outcome) for _, outcome in parts], runs)

    def whole_list(pick: Callable[[Outcome], Sequence[Any]]) -> tuple[Any, ...]:
        return tuple(
            _scattered(numbers, found, runs) for found in zip(*map(pick, outcomes), strict=True)
        )

    first, outcomes = parts[0][1], [outcome for _, outcome in parts]
    observables: dict[str, Any] = {}
    for name, value in first.result["observables"].items():
        several = isinstance(value, (tuple, list))
        observables[name] = (whole_list if several else whole)(_observable(name))
    evaluated = {
        of: {row: whole(_evaluated(of, row)) for row in values}
        for of, values in (first.result.get("evaluated") or {}).items()
    }
    inside = tuple(
        replace(part, which=which if part.which is None else which[part.which])
        for which, outcome in parts
        for part in outcome.final.inside
    )
    end, clock = first.final, clock_of(call.begin, call.method)
    final = State(
        whole_list(lambda o: o.final.weights),
        end.step,
        whole(lambda o: o.final.status),
        whole(lambda o: o.final.stopped_at),
        end.time,
        None if end.elapsed is None else whole(lambda o: o.final.elapsed),
        tuple(whole_list(_remembered(i)) for i in range(len(end.memory))),
        inside,
        clock,
        end.memory_from,
        end.memory_of,
    )
    time = first.time
    if first.steps is not None:
        time = whole(lambda o: o.time) if clock is None else clock.at(first.steps)
    result = {"observables": observables, "evaluated": evaluated}
    return Outcome(result, first.steps, time, final, whole(lambda o: o.n_steps))


def _observable(name: str) -> Callable[[Outcome], Any]:
    return lambda outcome: outcome.result["observables"][name]


def _evaluated(of: str, row: str) -> Callable[[Outcome], Any]:
    return lambda outcome: outcome.result["evaluated"][of][row]


def _remembered(layer: int) -> Callable[[Outcome], Any]:
    return lambda outcome: outcome.final.memory[layer]


def _scattered(
    numbers: Sequence[Which], arrays: Sequence[npt.NDArray[Any]], runs: Shape
) -> npt.NDArray[Any]:
    """Return arrays (*run, ...) from those of some runs, (n, ...)."""
    inner = arrays[0].shape[1:]
    total = sum(map(len, numbers))
    found = np.empty((total, *inner), arrays[0].dtype)
    for which, array in zip(numbers, arrays, strict=True):
        found[which] = array
    return found.reshape(*runs, *inner)
