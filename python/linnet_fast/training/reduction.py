"""Trainings of dense networks that are done as the small ones that they are; see `reduced`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from linnet_fast._base import algebra, validate
from linnet_fast._base.validate import FloatArray, WeightArray
from linnet_fast.losses.base import Loss
from linnet_fast.records.measures import Measure
from linnet_fast.records.observables import Asked
from linnet_fast.records.rows import AnyObservable, EvaluatedObservable
from linnet_fast.training.call import CoreCall, Outcome, core_names
from linnet_fast.training.observe import observe
from linnet_fast.training.reduced import LEAST_WORK, Reduced, beside, find, norms, pays, work
from linnet_fast.training.state import Inside

_MOST_OBSERVED = 2**22  # weights that are looked at once


@dataclass(frozen=True, eq=False)
class Reduction:
    """A training, and the small one in its place.

    Parameters
    ----------
    call : CoreCall
        The training that was asked for.
    small : CoreCall
        The one that takes its place.
    problem : Reduced
        What became of network, loss and start.
    """

    call: CoreCall
    small: CoreCall
    problem: Reduced

    def expanded(self, outcome: Outcome) -> Outcome:
        """Return the outcome of the training that was asked for, from that of the small one."""
        begin, end = self.call.begin, outcome.final
        full, memory = self._whole(end.weights, end.memory)
        kept = begin.memory if memory else ()
        final = replace(
            end,
            weights=tuple(self._ended(w, old) for w, old in zip(full, begin.weights, strict=True)),
            memory=tuple((self._ended(m, old[0]),) for m, old in zip(memory, kept, strict=True)),
            inside=(Inside(self.problem.origin, end.weights, end.memory),),
        )
        result = {
            "observables": self._observables(outcome),
            "evaluated": outcome.result.get("evaluated"),
        }
        return outcome._replace(result=result, final=final)

    def goes_on(self, inside: Inside) -> bool:
        """Return whether the state of the call is what a small one stands for, to the last bit."""
        begin = self.call.begin
        full, memory = self._whole(inside.weights, inside.memory)
        kept = [part for parts in begin.memory for part in parts]
        going = self.call.going
        pairs = zip((*full, *memory), (*begin.weights, *kept), strict=True)
        return all(np.array_equal(one[going], other[going]) for one, other in pairs)

    def _whole(
        self, weights: tuple[WeightArray, ...], memory: tuple[tuple[WeightArray, ...], ...]
    ) -> tuple[tuple[WeightArray, ...], tuple[WeightArray, ...]]:
        """Return the weights, and what is remembered, of which a small state is."""
        full = self.problem.expand(weights)
        if not memory:
            return full, ()
        return full, self.problem.expand([parts[0] for parts in memory], remembered=True)

    def _ended(self, new: WeightArray, old: WeightArray) -> WeightArray:
        """Return new weights, of runs that had ended before the old ones."""
        going = self.call.going
        if going.all():
            return new
        inner = (1,) * (new.ndim - going.ndim)
        return np.where(going.reshape(*going.shape, *inner), new, old)

    def _observables(self, outcome: Outcome) -> dict[str, Any]:
        """Return what was asked for of the core."""
        call, known = self.call, outcome.result["observables"]
        wanted = _wanted(call)
        rest = _Rest(self)
        found = {
            name: _RESTORED[name](known[name], rest)
            for name in wanted & _direct(call, self.problem)
        }
        if "product" in wanted:
            product, inputs = known["product"], self.problem.bases.inputs
            product = product[..., :-1] if self.problem.has_rest else product
            found["product"] = product
            if inputs is not None:
                found["product"] = algebra.product(product, beside(inputs, product).mT)
        if "weights" in wanted:
            found["weights"] = self.problem.expand(known["weights"])
        others = wanted - set(found)
        if others:
            found |= self._observed(known["weights"], others)
        return found

    def _observed(self, small: tuple[WeightArray, ...], names: set[str]) -> dict[str, FloatArray]:
        """Return what the core finds at the weights of the records, a few of them at a time."""
        call = self.call
        rows = call.record.rows
        axis = len(call.runs)
        at_once = max(1, _MOST_OBSERVED // (call.network.n_weights * call.begin.status.size))
        # What had ended before begins with anything, and its records are missing.
        start = [np.where(np.isfinite(w), w, 0.0) for w in call.begin.weights]
        parts: list[dict[str, Any]] = []
        for first in range(0, small[0].shape[axis], at_once):
            some = (*(slice(None),) * axis, slice(first, first + at_once))
            weights = self.problem.expand([w[some] for w in small])
            finite = [np.isfinite(w).all(axis=(-2, -1)) for w in weights]
            missing = ~np.logical_and.reduce(finite)
            # Records in front: losses and decays have run axes.
            clean = [np.where(missing[..., None, None], 0.0, w) for w in weights]
            seen = observe(
                call.network,
                call.loss,
                [np.moveaxis(w, axis, 0) for w in clean],
                [_asked(rows, name) for name in sorted(names)],
                weight_decay=call.method.weight_decay,
                layer_decays=call.method.layer_decays,
                direction=call.direction,
                start=start,
                n_threads=call.n_threads,
            )
            there = {}
            for name in names:
                array = np.moveaxis(seen[name], 0, axis)
                inner = (1,) * (array.ndim - missing.ndim)
                there[name] = np.where(missing.reshape(*missing.shape, *inner), np.nan, array)
            parts.append(there)
        return {name: np.concatenate([part[name] for part in parts], axis) for name in names}


@dataclass(frozen=True, eq=False)
class _Rest:
    """What of the start lies outside the bases."""

    reduction: Reduction

    @cached_property
    def matrices(self) -> tuple[FloatArray, ...]:
        """At the start, (*run, ...)."""
        problem = self.reduction.problem
        inside = problem.bases.back(problem.start)
        pairs = zip(problem.origin, inside, strict=True)
        return tuple(np.asarray(w, np.float64) - part for w, part in pairs)

    def layer_norms(self, small: FloatArray) -> FloatArray:
        """Return those of all weights."""
        if self.reduction.problem.has_rest:
            return small
        n_runs = len(self.reduction.call.runs)
        outside = np.stack([norms(m) for m in self.matrices], axis=-1)
        return np.asarray(np.hypot(small, np.expand_dims(outside, n_runs)))

    def imbalance(self, small: FloatArray) -> FloatArray:
        """Return that of all weights, where nothing decays."""
        rests, bases = self.matrices, self.reduction.problem.bases
        others = []
        for lower, (one, two) in enumerate(pairwise(rests)):
            apart = algebra.cross_products(two, two) - algebra.product(one, one.mT)
            square = norms(apart) ** 2
            if lower == 0 and bases.inputs is not None:
                # The part of the first layer outside sees inputs that the part inside sees, too.
                inside = np.asarray(self.reduction.problem.start[0], np.float64)
                crossed = algebra.product(inside, algebra.product(one, bases.inputs).mT)
                square = square + 2 * norms(crossed) ** 2
            others.append(np.sqrt(square))
        outside = np.stack(others, axis=-1)
        return np.asarray(np.hypot(small, np.expand_dims(outside, len(self.reduction.call.runs))))

    def padded(self, small: FloatArray) -> FloatArray:
        """Return singular values with zeros behind them."""
        call = self.reduction.call
        n_all = min(call.network.n_inputs, call.network.n_outputs)
        if small.shape[-1] >= n_all:  # one of an input that nothing sees, which is 0
            return small[..., :n_all]
        filled = np.zeros((*small.shape[:-1], n_all))
        filled[..., : small.shape[-1]] = small
        return np.where(np.isnan(small[..., :1]), np.nan, filled)


_RESTORED: Mapping[str, Callable[[Any, _Rest], Any]] = {
    "loss": lambda small, _: small,
    "margin": lambda small, _: small,
    "accuracy": lambda small, _: small,
    "norm": lambda small, _: small,
    "gradient_norm": lambda small, _: small,
    "singular_values": lambda small, rest: rest.padded(small),
    "layer_norms": lambda small, rest: rest.layer_norms(small),
    "imbalance": lambda small, rest: rest.imbalance(small),
    "angle": lambda small, _: small,
    "log_tan_half_angle": lambda small, _: small,
}
"""How each observable follows from that of the small training; others are observed at the weights."""
_WITHOUT_DECAY = {"imbalance"}
_OF_INPUTS = {"angle", "log_tan_half_angle"}  # where these are not turned


def reduction_of(call: CoreCall) -> Reduction | npt.NDArray[np.int64] | None:
    """Return the small training that takes the place of one.

    Whether there is one is a matter of each run alone, and does not depend on how long it is, nor on
    what is recorded, unless a loss is evaluated that has no form in the small network.

    Parameters
    ----------
    call : CoreCall
        The training.

    Returns
    -------
    Reduction, ndarray or None
        None if it is trained as it stands; numbers of runs, (*run), if they are not all of one kind:
        those of one number are trained together.
    """
    if not _may_be_reduced(call):
        return None
    begin = call.begin
    decays = np.broadcast_to(call.method.weight_decay > 0, call.runs)
    if decays.any() != decays.all():
        return decays.astype(np.int64)
    known: dict[str, Any] = {
        "draws": call.method.batches is not None,
        "decays": bool(decays.any()),
    }
    parts = [part.which for part in begin.inside]
    if any(which is not None for which in parts):
        kinds = np.full(begin.status.size, -1, np.int64)
        for number, which in enumerate(parts):
            kinds[which] = number
        return kinds.reshape(call.runs)
    for inside in begin.inside:
        origin = tuple(validate.over_runs(w, call.runs, 2) for w in inside.origin)
        problem = find(call.network, call.loss, origin, call.runs, **known)
        shapes = tuple(w.shape[-2:] for w in inside.weights)
        if isinstance(problem, Reduced) and problem.network.shapes == shapes:
            before = _of_problem(call, problem, inside.weights, inside.memory)
            if before is not None and before.goes_on(inside):
                return before
    if any(part.any() for kept in begin.memory for part in map(validate.unbroadcast, kept)):
        return None  # of another way that came here
    problem = find(call.network, call.loss, begin.weights, call.runs, **known)
    if not isinstance(problem, Reduced):
        return problem
    memory = tuple(
        (np.broadcast_to(np.zeros((), w.dtype), w.shape),) * len(kept)
        for w, kept in zip(problem.start, begin.memory, strict=False)
    )
    return _of_problem(call, problem, problem.start, memory)


def _of_problem(
    call: CoreCall,
    problem: Reduced,
    weights: tuple[WeightArray, ...],
    memory: tuple[tuple[WeightArray, ...], ...],
) -> Reduction | None:
    """Return the training of a small problem from its weights, if it pays and all can be had of it."""
    if not pays(call.network, call.loss, problem):
        return None
    evaluate: dict[str, Loss] = {}
    for name, other in call.record.evaluate.items():
        along = _seen_by(problem, other)
        if along is None:
            return None
        evaluate[name] = along
    begin = replace(call.begin, weights=weights, memory=memory, inside=())
    record = replace(call.record, observables=_recorded(call, problem), evaluate=evaluate)
    direction = call.direction
    if problem.bases.inputs is not None:
        direction, record = None, replace(record, direction=None)
    small = replace(
        call,
        network=problem.network,
        loss=problem.loss,
        begin=begin,
        record=record,
        direction=direction,
    )
    return Reduction(call, small, problem)


def _seen_by(problem: Reduced, loss: Loss) -> Loss | None:
    """Return a loss of the large end-to-end matrix as one of the small one; None where it has no such form."""
    inputs = problem.bases.inputs
    along = loss if inputs is None else loss.along(inputs)
    return along.padded(1) if along is not None and problem.has_rest else along


def _may_be_reduced(call: CoreCall) -> bool:
    """Return whether a training commutes with turning its hidden spaces and inputs."""
    method = call.method
    if call.stop is not None and call.stop.measures:
        return False
    if any("divisors" in row.needs for row in call.record.rows.values()):
        return False
    if not method.is_equivariant or work(call.network, call.loss) < LEAST_WORK:
        return False
    return method.rule is None or method.rule.kind != "alignment"


def _asked(rows: Mapping[str, AnyObservable], name: str) -> Asked:
    """Return what `observe` is to be asked for."""
    row = rows.get(name)
    return row if isinstance(row, Measure) else name


def _wanted(call: CoreCall) -> set[str]:
    """Return what is asked for of the core."""
    measures = {name for name, row in call.record.rows.items() if row.is_measure}
    return core_names(call.record.rows) | measures | set(call.needed)


def _direct(call: CoreCall, problem: Reduced) -> set[str]:
    """Return which observables follow from those of the small training."""
    others = set(_WITHOUT_DECAY) if call.method.weight_decay.any() else set()
    if problem.bases.inputs is not None:
        others |= _OF_INPUTS
    return set(_RESTORED) - others


def _recorded(call: CoreCall, problem: Reduced) -> tuple[str, ...]:
    """Return what the small training records."""
    wanted, direct = _wanted(call), _direct(call, problem)
    evaluated = [
        row for row in call.record.rows.values() if row.of is not None and not row.is_measure
    ]
    names = {*(wanted & direct), *(cast("EvaluatedObservable", row).name for row in evaluated)}
    if "product" in wanted:
        names.add("product")
    if wanted - direct - {"product"}:
        names.add("weights")
    return tuple(sorted(names)) or ("loss",)
