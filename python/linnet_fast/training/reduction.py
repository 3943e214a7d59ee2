"""Dense networks trained as the small ones that they are.

The loss sees the first layer on the inputs that occur alone, and a step moves weights inside small
subspaces of the hidden spaces only: those spanned by what comes from the inputs and what comes back from
the outputs. Turned into them, the chain is a small one and trains as the large one does, exactly; what
lies outside stays as it is, or decays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from linnet_fast import _core
from linnet_fast._base import algebra, elementary, machine, validate
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast.losses.base import Loss, SeenInputs
from linnet_fast.methods.base import Method
from linnet_fast.networks.chain import Chain
from linnet_fast.networks.named import Dense
from linnet_fast.records.observables import EvaluatedObservable
from linnet_fast.training.call import CoreCall, Outcome, core_names
from linnet_fast.training.observe import observe
from linnet_fast.training.state import State

_LEAST_WORK = 8000.0  # multiply-adds of a step: below, there is nothing to gain
_GAIN = 0.8  # of the work, what is left of it at most
_MOST_OBSERVED = 2**22  # weights that are looked at once


class Bases(NamedTuple):
    """Orthonormal columns that a chain is turned into; None: it stands as it is there."""

    inputs: FloatArray | None
    """(*run, in, k), or the same for all runs."""
    hidden: tuple[FloatArray | None, ...]
    """(*run, widths[l + 1], k) of each hidden space."""

    def of_layer(self, layer: int) -> tuple[FloatArray | None, FloatArray | None]:
        """Return the bases of the outputs and of the inputs of a layer."""
        sides = (self.inputs, *self.hidden, None)
        return sides[layer + 1], sides[layer]

    def into(self, weights: tuple[WeightArray, ...]) -> tuple[FloatArray, ...]:
        """Return weights (*run, ...) in these bases."""
        return tuple(self._turned(w, i, back=False) for i, w in enumerate(weights))

    def back(self, weights: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
        """Return weights in these bases, (*run, ...) or (*run, n_rec, ...), where they come from."""
        return tuple(self._turned(w, i, back=True) for i, w in enumerate(weights))

    def _turned(self, matrix: WeightArray, layer: int, *, back: bool) -> FloatArray:
        left, right = self.of_layer(layer)
        result = np.asarray(matrix, np.float64)
        if left is not None:
            basis = _beside(left, result)
            result = algebra.product(basis if back else basis.mT, result)
        if right is not None:
            basis = _beside(right, result)
            result = algebra.product(result, basis.mT if back else basis)
        return result


def _beside(basis: FloatArray, matrix: WeightArray) -> FloatArray:
    """Return a basis (*run, n, k) with axes of records, if a matrix has them."""
    between = matrix.ndim - basis.ndim
    if basis.ndim == 2 or between <= 0:
        return basis
    return basis.reshape(*basis.shape[:-2], *(1,) * between, *basis.shape[-2:])


@dataclass(frozen=True, eq=False)
class Reduction:
    """A training, and the small one it is.

    Parameters
    ----------
    call : CoreCall
        The training that was asked for.
    small : CoreCall
        The one that takes its place.
    bases : Bases
        Of its weights.
    """

    call: CoreCall
    small: CoreCall
    bases: Bases

    @property
    def text(self) -> str:
        """What was done, in a line."""
        one, other = (
            "-".join(map(str, call.network.widths)) for call in (self.call, self.small)
        )
        return f"widths {one} trained as {other}"

    def expanded(self, outcome: Outcome) -> Outcome:
        """Return the outcome of the training that was asked for, from that of the small one."""
        call, begin, going = self.call, self.call.begin, self.call.going
        first: Any = begin.step if outcome.steps is not None else begin.time
        last = np.where(going, outcome.final.stopped_at, first)
        kept, pushed = _decay(call, last - first if outcome.steps is not None else last)
        weights = self._weights(outcome.final.weights, kept)
        memory: tuple[tuple[WeightArray, ...], ...] = ()
        if outcome.final.memory:
            parts = self._weights(tuple(m[0] for m in outcome.final.memory), pushed)
            memory = tuple((self._ended(part, np.zeros_like(part)),) for part in parts)
        full = tuple(self._ended(w, old) for w, old in zip(weights, begin.weights, strict=True))
        final = replace(outcome.final, weights=full, memory=memory)
        result = {"observables": self._observables(outcome), "evaluated": outcome.result.get("evaluated")}
        return outcome._replace(result=result, final=final)

    def _ended(self, new: WeightArray, old: WeightArray) -> WeightArray:
        """Return new weights, of runs that had ended before the old ones."""
        going = self.call.going
        if going.all():
            return new
        inner = (1,) * (new.ndim - going.ndim)
        return np.where(going.reshape(*going.shape, *inner), new, old)

    def _weights(
        self, small: tuple[WeightArray, ...], kept: FloatArray
    ) -> tuple[WeightArray, ...]:
        """Return weights (*run, ...) or (*run, n_rec, ...), and kept (..., n_arrays) of the start."""
        with np.errstate(over="ignore", invalid="ignore"):
            found = []
            n_runs = len(self.call.runs)
            begin = zip(self.small.begin.weights, self.call.begin.weights, strict=True)
            moved, starts = [], []
            for layer, (inside, start) in enumerate(begin):
                share = kept[..., layer, None, None]
                between = (1,) * (small[layer].ndim - inside.ndim)
                old = inside.reshape(*inside.shape[:n_runs], *between, *inside.shape[n_runs:])
                moved.append(np.asarray(small[layer], np.float64) - share * old)
                starts.append(share * start.reshape(*start.shape[:n_runs], *between, *start.shape[n_runs:]))
            for start, move in zip(starts, self.bases.back(tuple(moved)), strict=True):
                found.append((start + move).astype(small[0].dtype))
        return tuple(found)

    def _observables(self, outcome: Outcome) -> dict[str, Any]:
        """Return what was asked for of the core."""
        call, known = self.call, outcome.result["observables"]
        wanted = core_names(call.record.rows) | set(call.needed)
        n_records = outcome.time.shape[-1]
        rest = _Rest(self, outcome)
        found: dict[str, Any] = {}
        for name in wanted & _direct(call):
            found[name] = _RESTORED[name](known[name], rest)
        if "product" in wanted:
            product = known["product"]
            inputs = self.bases.inputs
            found["product"] = product if inputs is None else algebra.product(product, _beside(inputs, product).mT)
        others = wanted - set(found) - {"weights"}
        if "weights" in wanted:
            found["weights"] = self._weights(known["weights"], rest.kept)
        if others:
            found |= self._observed(known["weights"], rest.kept, others, n_records)
        return found

    def _observed(
        self, small: tuple[WeightArray, ...], kept: FloatArray, names: set[str], n_records: int
    ) -> dict[str, FloatArray]:
        """Return what the core finds at the weights of the records, a few of them at a time."""
        call = self.call
        at_once = max(1, _MOST_OBSERVED // (call.network.n_weights * call.begin.status.size))
        parts: list[dict[str, Any]] = []
        inside = (slice(None),) * len(call.runs)
        for k in range(0, n_records, at_once):
            some = slice(k, k + at_once)
            weights = self._weights(tuple(w[(*inside, some)] for w in small), kept[(*inside, some)])
            missing = ~np.logical_and.reduce([np.isfinite(w).all(axis=(-2, -1)) for w in weights])
            clean = tuple(np.where(missing[..., None, None], 0.0, w) for w in weights)
            # Records before runs: losses, decays and directions have run axes.
            first = tuple(np.moveaxis(w, len(call.runs), 0) for w in clean)
            seen = observe(
                call.network,
                call.loss,
                first,
                sorted(names),
                weight_decay=call.method.weight_decay,
                direction=call.direction,
                n_threads=call.n_threads,
            )
            there = {name: np.moveaxis(seen[name], 0, len(call.runs)) for name in names}
            for name, array in there.items():
                inner = (1,) * (array.ndim - missing.ndim)
                there[name] = np.where(missing.reshape(*missing.shape, *inner), np.nan, array)
            parts.append(there)
        axis = len(call.runs)
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
        length = outcome.time if outcome.steps is None else outcome.steps - (call.begin.step or 0)
        length = np.broadcast_to(length, (*(1,) * len(call.runs), length.shape[-1]))
        return _decay(call, length, n_axes=1)[0]

    @cached_property
    def matrices(self) -> tuple[FloatArray, ...]:
        """At the start, (*run, ...)."""
        reduction = self.reduction
        inside = reduction.bases.back(reduction.small.begin.weights)
        starts = reduction.call.begin.weights
        return tuple(np.asarray(w, np.float64) - part for w, part in zip(starts, inside, strict=True))

    def layer_norms(self, small: FloatArray) -> FloatArray:
        """Return those of all weights."""
        n_runs = len(self.reduction.call.runs)
        norms = np.stack([_norms(m) for m in self.matrices], axis=-1)
        norms = norms.reshape(*norms.shape[:n_runs], 1, norms.shape[-1])
        return np.hypot(small, norms * self.kept)

    def imbalance(self, small: FloatArray) -> FloatArray:
        """Return that of all weights, where nothing decays."""
        rests, bases = self.matrices, self.reduction.bases
        others = []
        for lower, (one, two) in enumerate(pairwise(rests)):
            apart = algebra.cross_products(two, two) - algebra.product(one, one.mT)
            square = _norms(apart) ** 2
            if lower == 0 and bases.inputs is not None:
                # The part of the first layer outside sees inputs that the part inside sees, too.
                inside = np.asarray(self.reduction.small.begin.weights[0], np.float64)
                crossed = algebra.product(inside, algebra.product(one, bases.inputs).mT)
                square = square + 2 * _norms(crossed) ** 2
            others.append(np.sqrt(square))
        n_runs = len(self.reduction.call.runs)
        norms = np.stack(others, axis=-1)
        return np.hypot(small, norms.reshape(*norms.shape[:n_runs], 1, norms.shape[-1]))

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
}
"""How each observable follows from that of the small training; others are observed at the weights."""
_WITHOUT_DECAY = {"gradient_norm", "imbalance"}


def reduction_of(call: CoreCall) -> Reduction | None:
    """Return the small training that takes the place of one, or None where there is none.

    Parameters
    ----------
    call : CoreCall
        The training.
    """
    if not _may_be_reduced(call):
        return None
    found = _bases(call.network, call.loss, call.begin.weights, call.runs)
    if found is None:
        return None
    bases, seen = found
    begin = call.begin
    weights = tuple(w.astype(begin.weights[0].dtype) for w in bases.into(begin.weights))
    network = Dense((weights[0].shape[-1], *(w.shape[-2] for w in weights)))
    loss = call.loss
    evaluate = dict(call.record.evaluate)
    if seen is not None:
        n_more = network.n_inputs - seen.n_seen
        loss = loss.on_seen(seen, n_more, draws=call.method.batches is not None)
        for name, other in evaluate.items():
            assert bases.inputs is not None
            along = other.along(bases.inputs)
            if along is None:
                return None
            evaluate[name] = along
    if not _pays(call.network, call.loss, network, loss):
        return None
    memory = tuple(
        (np.broadcast_to(np.zeros((), w.dtype), w.shape),) * len(kept)
        for w, kept in zip(weights, begin.memory, strict=False)
    )
    state = replace(begin, weights=weights, memory=memory)
    record = replace(call.record, observables=_recorded(call), evaluate=evaluate, direction=None)
    small = replace(
        call, network=network, loss=loss, begin=state, record=record, direction=None
    )
    return Reduction(call, small, bases)


def _may_be_reduced(call: CoreCall) -> bool:
    """Return whether a training commutes with turning its hidden spaces and inputs."""
    network, method, begin, stop = call.network, call.method, call.begin, call.stop
    if not (network.is_dense and network.n_layers > 1 and method.is_equivariant):
        return False
    if _chain_work(network.widths) + call.loss.work(network.n_inputs) < _LEAST_WORK:
        return False
    if any(part.any() for kept in begin.memory for part in map(validate.unbroadcast, kept)):
        return False
    if method.weight_decay.any():
        # What lies outside decays by itself: step sizes and thresholds must not look at it.
        if method.rule is not None:
            return False
        if stop is not None and stop.gradient_norm is not None:
            return False
    return method.rule is None or method.rule.kind != "alignment"


def _direct(call: CoreCall) -> set[str]:
    """Return which observables follow from those of the small training."""
    return set(_RESTORED) - (_WITHOUT_DECAY if call.method.weight_decay.any() else set())


def _recorded(call: CoreCall) -> tuple[str, ...]:
    """Return what the small training records."""
    rows = call.record.rows
    wanted = core_names(rows) | set(call.needed)
    direct = wanted & _direct(call)
    evaluated = [row for row in rows.values() if row.of is not None]
    names = {*direct, *(cast("EvaluatedObservable", row).name for row in evaluated)}
    if "product" in wanted:
        names.add("product")
    if wanted - direct - {"product"}:
        names.add("weights")
    return tuple(sorted(names)) or ("loss",)


def _bases(
    network: Chain, loss: Loss, weights: tuple[WeightArray, ...], runs: Shape
) -> tuple[Bases, SeenInputs | None] | None:
    """Return the bases of a chain and what the loss sees of the inputs, or None where all is needed."""
    widths = network.widths
    seen = loss.seen_inputs()
    n_seen = network.n_inputs if seen is None else seen.n_seen
    most = n_seen + network.n_outputs
    doubles = [validate.over_runs(np.asarray(w, np.float64), runs, 2) for w in weights]
    searched = seen
    if seen is not None and network.n_inputs - n_seen <= min(widths[1], most):
        # The complement is as good as what a run needs of it, and the same for all.
        columns = _completed(seen)
        seen = SeenInputs(columns, n_seen)
    columns = None if searched is None else searched.columns[..., :n_seen]
    hidden: tuple[FloatArray | None, ...] = (None,) * (network.n_layers - 1)
    needs_unseen = seen is not None and seen.columns.shape[-1] == n_seen < network.n_inputs
    if any(width > most for width in widths[1:-1]) or needs_unseen:
        found, ranks = _core.subspaces(
            doubles,
            None if columns is None else validate.over_runs(columns, runs, 2),
            most=most,
            run_shape=runs,
            n_threads=machine.n_threads(),
        )
        if (ranks < 0).any():
            if seen is None or needs_unseen:
                return None
        else:
            sizes = ranks.reshape(-1, network.n_layers).max(axis=0)
            hidden = tuple(
                None if width <= most else basis[..., : max(int(size), 1)]
                for width, basis, size in zip(widths[1:-1], found[1:], sizes[1:], strict=True)
            )
            if needs_unseen:
                assert columns is not None
                unseen = found[0][..., : int(sizes[0])]
                shared = np.broadcast_to(columns, (*runs, *columns.shape[-2:]))
                both = np.concatenate([shared, unseen], axis=-1) if sizes[0] else columns
                return Bases(both, hidden), seen
    return Bases(None if seen is None else seen.columns, hidden), seen


def _completed(seen: SeenInputs) -> FloatArray:
    """Return all columns of a basis of the inputs, those that are seen first."""
    columns = seen.columns
    n_inputs = columns.shape[-2]
    if columns.shape[-1] == n_inputs:
        return columns
    square = np.zeros((*columns.shape[:-1], n_inputs))
    square[..., : seen.n_seen] = columns
    # Reflections of orthonormal columns leave them as they are, and fill up the others.
    filled = algebra.orthonormal_columns(square)
    return np.concatenate([columns, filled[..., seen.n_seen :]], axis=-1)


def _pays(network: Chain, loss: Loss, small: Chain, reduced: Loss) -> bool:
    before = _chain_work(network.widths) + loss.work(network.n_inputs)
    after = _chain_work(small.widths) + reduced.work(small.n_inputs)
    return after <= _GAIN * before


def _chain_work(widths: tuple[int, ...]) -> float:
    """Return about how many multiply-adds the products of a step take."""
    rows = min(widths[0], widths[-1])
    pairs = list(pairwise(widths))
    inner = pairs[:-1] if widths[-1] <= widths[0] else pairs[1:]
    return float(3 * rows * sum(a * b for a, b in inner))


def _decay(
    call: CoreCall, length: npt.NDArray[Any], *, n_axes: int = 0
) -> tuple[FloatArray, FloatArray]:
    """Return what is left of weights without a gradient, and what is remembered, as shares of the start.

    Parameters
    ----------
    call : CoreCall
        The training.
    length : ndarray, shape (*run) and n_axes more
        Steps taken; of a flow the times reached.
    """
    method, n_arrays = call.method, call.network.n_arrays
    decay = np.reshape(method.weight_decay, (*method.weight_decay.shape, *(1,) * n_axes))
    shape = np.broadcast_shapes(decay.shape, length.shape)
    if not decay.any():
        ones = np.ones((*(1,) * len(shape), n_arrays))
        return np.broadcast_to(ones, (*shape, n_arrays)), np.zeros((*shape, n_arrays))
    if not method.counts_steps:
        begin = method.linear_time(call.begin.time or 0.0)
        spent = method.linear_time(length) - begin
        left = elementary.exp(np.asarray(-(decay * spent)))[..., None]
        return np.broadcast_to(left, (*shape, n_arrays)), np.zeros((*shape, n_arrays))
    return _powers(method, decay, length, n_arrays, n_axes)


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
