"""Trainings of dense networks that are done as the small ones that they are; see `reduced`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from linnet_fast._base import algebra, elementary, validate
from linnet_fast._base.validate import FloatArray, WeightArray
from linnet_fast.losses.base import Loss
from linnet_fast.records.observables import EvaluatedObservable
from linnet_fast.training.call import CoreCall, Outcome, core_names
from linnet_fast.training.observe import observe
from linnet_fast.training.reduced import LEAST_WORK, Reduced, beside, find, pays, work
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
    since : float
        Step, or time, of that start.
    """

    call: CoreCall
    small: CoreCall
    problem: Reduced
    since: float

    def expanded(self, outcome: Outcome) -> Outcome:
        """Return the outcome of the training that was asked for, from that of the small one."""
        begin = self.call.begin
        end = outcome.final
        full, memory = self._whole(end.weights, end.memory, end.stopped_at)
        kept = begin.memory if memory else ()
        final = replace(
            end,
            weights=tuple(self._ended(w, old) for w, old in zip(full, begin.weights, strict=True)),
            memory=tuple((self._ended(m, old[0]),) for m, old in zip(memory, kept, strict=True)),
            inside=Inside(self.problem.origin, self.since, end.weights, end.memory),
        )
        result = {
            "observables": self._observables(outcome),
            "evaluated": outcome.result.get("evaluated"),
        }
        return outcome._replace(result=result, final=final)

    def goes_on(self, inside: Inside) -> bool:
        """Return whether the state of the call is what a small one stands for, to the last bit."""
        begin = self.call.begin
        full, memory = self._whole(inside.weights, inside.memory, begin.stopped_at)
        kept = [part for parts in begin.memory for part in parts]
        going = self.call.going
        pairs = zip((*full, *memory), (*begin.weights, *kept), strict=True)
        return all(np.array_equal(one[going], other[going]) for one, other in pairs)

    def _whole(
        self,
        weights: tuple[WeightArray, ...],
        memory: tuple[tuple[WeightArray, ...], ...],
        reached: npt.NDArray[Any],
    ) -> tuple[tuple[WeightArray, ...], tuple[WeightArray, ...]]:
        """Return the weights, and what is remembered, of which a small state is."""
        kept, pushed = _decay(self.call, reached, self.since)
        full = self.problem.expand(weights, kept)
        if not memory:
            return full, ()
        return full, self.problem.expand([parts[0] for parts in memory], pushed)

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
        rest = _Rest(self, outcome)
        found = {
            name: _RESTORED[name](known[name], rest)
            for name in wanted & _direct(call, self.problem)
        }
        if "product" in wanted:
            product, inputs = known["product"], self.problem.bases.inputs
            found["product"] = product
            if inputs is not None:
                found["product"] = algebra.product(product, beside(inputs, product).mT)
        if "weights" in wanted:
            found["weights"] = self.problem.expand(known["weights"], rest.kept)
        others = wanted - set(found)
        if others:
            found |= self._observed(known["weights"], rest.kept, others)
        return found

    def _observed(
        self, small: tuple[WeightArray, ...], kept: FloatArray, names: set[str]
    ) -> dict[str, FloatArray]:
        """Return what the core finds at the weights of the records, a few of them at a time."""
        call = self.call
        axis = len(call.runs)
        at_once = max(1, _MOST_OBSERVED // (call.network.n_weights * call.begin.status.size))
        parts: list[dict[str, Any]] = []
        for first in range(0, small[0].shape[axis], at_once):
            some = (*(slice(None),) * axis, slice(first, first + at_once))
            weights = self.problem.expand([w[some] for w in small], kept[some])
            finite = [np.isfinite(w).all(axis=(-2, -1)) for w in weights]
            missing = ~np.logical_and.reduce(finite)
            # Records in front: losses and decays have run axes.
            clean = [np.where(missing[..., None, None], 0.0, w) for w in weights]
            seen = observe(
                call.network,
                call.loss,
                [np.moveaxis(w, axis, 0) for w in clean],
                sorted(names),
                weight_decay=call.method.weight_decay,
                direction=call.direction,
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
    """What of the weights lies outside the bases, and how much of it is left at each record."""

    reduction: Reduction
    outcome: Outcome

    @cached_property
    def kept(self) -> FloatArray:
        """(*run or ones, n_rec, n_arrays): the share of the start."""
        call, outcome = self.reduction.call, self.outcome
        when = outcome.time if outcome.steps is None else outcome.steps
        when = when.reshape(*(1,) * len(call.runs), when.shape[-1])
        return _decay(call, when, self.reduction.since, n_axes=1)[0]

    @cached_property
    def matrices(self) -> tuple[FloatArray, ...]:
        """At the start, (*run, ...)."""
        problem = self.reduction.problem
        inside = problem.bases.back(problem.start)
        pairs = zip(problem.origin, inside, strict=True)
        return tuple(np.asarray(w, np.float64) - part for w, part in pairs)

    def layer_norms(self, small: FloatArray) -> FloatArray:
        """Return those of all weights."""
        n_runs = len(self.reduction.call.runs)
        norms = np.stack([_norms(m) for m in self.matrices], axis=-1)
        norms = norms.reshape(*norms.shape[:n_runs], 1, norms.shape[-1])
        return np.hypot(small, norms * self.kept)

    def imbalance(self, small: FloatArray) -> FloatArray:
        """Return that of all weights, where nothing decays."""
        rests, bases = self.matrices, self.reduction.problem.bases
        others = []
        for lower, (one, two) in enumerate(pairwise(rests)):
            apart = algebra.cross_products(two, two) - algebra.product(one, one.mT)
            square = _norms(apart) ** 2
            if lower == 0 and bases.inputs is not None:
                # The part of the first layer outside sees inputs that the part inside sees, too.
                inside = np.asarray(self.reduction.problem.start[0], np.float64)
                crossed = algebra.product(inside, algebra.product(one, bases.inputs).mT)
                square = square + 2 * _norms(crossed) ** 2
            others.append(np.sqrt(square))
        n_runs = len(self.reduction.call.runs)
        norms = np.stack(others, axis=-1)
        norms = norms.reshape(*norms.shape[:n_runs], 1, norms.shape[-1])
        return np.asarray(np.hypot(small, norms))

    def padded(self, small: FloatArray) -> FloatArray:
        """Return singular values with zeros behind them."""
        call = self.reduction.call
        n_all = min(call.network.n_inputs, call.network.n_outputs)
        more = n_all - small.shape[-1]
        filled = np.pad(small, [(0, 0)] * (small.ndim - 1) + [(0, more)])
        return np.where(np.isnan(small[..., :1]), np.nan, filled) if more else small


def _norms(matrices: FloatArray) -> FloatArray:
    flat = matrices.reshape(*matrices.shape[:-2], -1)
    scale = np.abs(flat).max(axis=-1, keepdims=True)
    unit = flat / np.where(scale > 0, scale, 1.0)
    squares = algebra.cross_products(unit[..., None], unit[..., None])[..., 0, 0]
    return np.asarray(scale[..., 0] * np.sqrt(squares))


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
_WITHOUT_DECAY = {"gradient_norm", "imbalance"}
_OF_INPUTS = {"angle", "log_tan_half_angle"}  # where these are not turned


def reduction_of(call: CoreCall) -> Reduction | None:
    """Return the small training that takes the place of one, or None where there is none.

    Whether there is one does not depend on how long it is, nor on what is recorded.

    Parameters
    ----------
    call : CoreCall
        The training.
    """
    if not _may_be_reduced(call):
        return None
    begin, draws = call.begin, call.method.batches is not None
    inside = begin.inside
    if inside is not None:
        origin = tuple(validate.over_runs(w, call.runs, 2) for w in inside.origin)
        problem = find(call.network, call.loss, origin, call.runs, draws=draws)
        shapes = tuple(w.shape[-2:] for w in inside.weights)
        if problem is not None and problem.network.shapes == shapes:
            known = _of_problem(call, problem, inside.since, inside.weights, inside.memory)
            if known is not None and known.goes_on(inside):
                return known
    if any(part.any() for kept in begin.memory for part in map(validate.unbroadcast, kept)):
        return None  # of another way that came here
    problem = find(call.network, call.loss, begin.weights, call.runs, draws=draws)
    if problem is None:
        return None
    memory = tuple(
        (np.broadcast_to(np.zeros((), w.dtype), w.shape),) * len(kept)
        for w, kept in zip(problem.start, begin.memory, strict=False)
    )
    since = begin.step if begin.step is not None else begin.time or 0.0
    return _of_problem(call, problem, since, problem.start, memory)


def _of_problem(
    call: CoreCall,
    problem: Reduced,
    since: float,
    weights: tuple[WeightArray, ...],
    memory: tuple[tuple[WeightArray, ...], ...],
) -> Reduction | None:
    """Return the training of a small problem from its weights, if it pays and all can be had of it."""
    if not pays(call.network, call.loss, problem):
        return None
    evaluate: dict[str, Loss] = {}
    for name, other in call.record.evaluate.items():
        inputs = problem.bases.inputs
        along = other if inputs is None else other.along(inputs)
        if along is None:
            return None
        evaluate[name] = along
    begin = replace(call.begin, weights=weights, memory=memory, inside=None)
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
    return Reduction(call, small, problem, since)


def _may_be_reduced(call: CoreCall) -> bool:
    """Return whether a training commutes with turning its hidden spaces and inputs."""
    method, stop = call.method, call.stop
    if not method.is_equivariant or work(call.network, call.loss) < LEAST_WORK:
        return False
    if method.weight_decay.any():
        # What lies outside decays by itself: step sizes and thresholds must not look at it.
        if method.rule is not None:
            return False
        if stop is not None and stop.gradient_norm is not None:
            return False
    return method.rule is None or method.rule.kind != "alignment"


def _wanted(call: CoreCall) -> set[str]:
    """Return what is asked for of the core."""
    return core_names(call.record.rows) | set(call.needed)


def _direct(call: CoreCall, problem: Reduced) -> set[str]:
    """Return which observables follow from those of the small training."""
    others = set(_WITHOUT_DECAY) if call.method.weight_decay.any() else set()
    if problem.bases.inputs is not None:
        others |= _OF_INPUTS
    return set(_RESTORED) - others


def _recorded(call: CoreCall, problem: Reduced) -> tuple[str, ...]:
    """Return what the small training records."""
    wanted, direct = _wanted(call), _direct(call, problem)
    evaluated = [row for row in call.record.rows.values() if row.of is not None]
    names = {*(wanted & direct), *(cast("EvaluatedObservable", row).name for row in evaluated)}
    if "product" in wanted:
        names.add("product")
    if wanted - direct - {"product"}:
        names.add("weights")
    return tuple(sorted(names)) or ("loss",)


def _decay(
    call: CoreCall, reached: npt.NDArray[Any], since: float, *, n_axes: int = 0
) -> tuple[FloatArray, FloatArray]:
    """Return what is left of weights without a gradient, and what is remembered, as shares of the start.

    Parameters
    ----------
    call : CoreCall
        The training.
    reached : ndarray, shape (*run) and n_axes more
        The steps, or times, at which.
    since : float
        Where the start was.
    """
    method, n_arrays = call.method, call.network.n_arrays
    decay = np.reshape(method.weight_decay, (*method.weight_decay.shape, *(1,) * n_axes))
    shape = np.broadcast_shapes(decay.shape, reached.shape)
    if not decay.any():
        ones = np.ones((*(1,) * len(shape), n_arrays))
        return np.broadcast_to(ones, (*shape, n_arrays)), np.zeros((*shape, n_arrays))
    if not method.counts_steps:
        spent = method.time_between(since, reached)
        left = elementary.exp(np.asarray(-(decay * spent)))[..., None]
        return np.broadcast_to(left, (*shape, n_arrays)), np.zeros((*shape, n_arrays))
    return _powers(method, decay, reached - int(since), n_arrays, n_axes)


def _powers(
    method: Any, decay: FloatArray, length: npt.NDArray[Any], n_arrays: int, n_axes: int
) -> tuple[FloatArray, FloatArray]:
    """Return the decay by steps: powers of the matrix of one step of (weight, velocity)."""
    rates = method.layer_step_sizes(n_arrays)
    rates = rates.reshape(*rates.shape[:-1], *(1,) * n_axes, n_arrays)
    part = np.reshape(method.momentum, (*method.momentum.shape, *(1,) * n_axes))[..., None]
    c = decay[..., None]
    # v <- part v + c w; then w <- w - rate v, or by Nesterov w <- w - rate (c w + part v).
    if method.nesterov:
        step = [[1 - rates * c * (1 + part), -rates * part * part], [c, part]]
    else:
        step = [[1 - rates * c, -rates * part], [c, part]]
    count = np.asarray(length, np.int64)[..., None]
    shape = np.broadcast_shapes(count.shape, *(np.shape(x) for row in step for x in row))
    power = [[np.broadcast_to(x, shape) for x in row] for row in step]
    kept, pushed = np.ones(shape), np.zeros(shape)
    for bit in range(int(count.max(initial=0)).bit_length()):
        here = (count >> bit) & 1 == 1
        (a, b), (d, e) = power
        kept, pushed = (
            np.where(here, a * kept + b * pushed, kept),
            np.where(here, d * kept + e * pushed, pushed),
        )
        power = [[a * a + b * d, a * b + b * e], [d * a + e * d, d * b + e * e]]
    return kept, pushed
