"""Costs of chains of any kind: upper bounds from weights that were found, lower bounds from duals.

Weights are flat here, all arrays side by side, with any leading axes.
"""

from __future__ import annotations

import math

import numpy as np

from linnet_fast import initialization, layers
from linnet_fast._base import algebra
from linnet_fast._base.patience import awaited
from linnet_fast._base.validate import FloatArray
from linnet_fast.costs.solvers import bounds, impossible
from linnet_fast.costs.solvers.feasible import FEASIBLE, projected, reached, shrunk
from linnet_fast.costs.solvers.function import Function
from linnet_fast.costs.solvers.solution import EXACT_GAP, NOT_FOUND, Solution, divided
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.methods.flow import GradientFlow
from linnet_fast.networks.chain import Chain
from linnet_fast.records.record import Record
from linnet_fast.training.train import train

# Decay and time of the rounds: feasible weights first, so that no small entry is lost to decay.
_ROUNDS = ((1e-3, 60.0), (0.03, 40.0), (0.03, 40.0), (0.03, 40.0), (0.01, 60.0))
_NEWTON_STEPS = 60
_PATIENCE = 3  # steps of Newton's method in a row that bring nothing
_POLISHED = 6  # of the starts
_FIRST_STARTS = 3  # of networks with a dual bound: the others are for where bounds do not meet
_MORE_ROUNDS = 6  # for predictors that the starts of the first do not reach
_MORE_STARTS = 8  # times as many in each of them
_HUGE = 1e50  # weights beyond have diverged
_MOST_SEARCHED = 6000
_MOST_NUMBERS = 2e7  # of an intermediate result


def _descended(
    function: Function, start: FloatArray, target: FloatArray, n_threads: int
) -> list[FloatArray]:
    """Return weights that are nearly feasible, and weights near a minimum of ||w||^2 among those.

    By augmented Lagrangians: each round is a gradient flow of the core, on the squared loss of a
    moved target with weight decay. The multiplier of the constraint is what moves the target.
    """
    network = function.network
    shape = (network.n_outputs, network.n_inputs)
    flat, multiplier = start, np.zeros(target.shape)
    ends: list[FloatArray] = []
    for decay, until in _ROUNDS:
        moved = target + decay * multiplier
        cross = moved.reshape(*moved.shape[:-1], *shape)
        loss = SquaredLoss(np.eye(network.n_inputs), cross, np.sum(moved**2, axis=-1))
        run = train(
            network,
            loss,
            function.arrays(flat),
            method=GradientFlow(rtol=1e-3, atol=1e-6, weight_decay=decay, max_steps=3000),
            until=until,
            record=Record.at_times([until], observables=("loss",)),
            n_threads=n_threads,
        )
        parts = [w.reshape(*flat.shape[:-1], -1) for w in run.final.weights]
        reached = np.concatenate(parts, axis=-1).astype(np.float64)
        fine = np.asarray((np.abs(reached) < _HUGE).all(axis=-1))
        flat = np.where(fine[..., None], reached, flat)
        flat = np.where(np.abs(flat) > 1 / _HUGE, flat, 0.0)  # flows refuse starts near underflow
        multiplier = np.clip(multiplier + (target - function.value(flat)) / decay, -1e3, 1e3)
        ends.append(flat)
    return [ends[0], ends[-1]]


def _polished(
    function: Function, flat: FloatArray, target: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return stationary weights and multipliers by Newton's method on the conditions."""
    n, m = function.n_weights, function.n_entries
    w = projected(function, flat, target).reshape(-1, n)
    goal = target.reshape(-1, m)
    z = _multipliers(function, w)
    best, best_z = w.copy(), z.copy()
    residual = np.full(len(w), np.inf)
    going, stalled = np.arange(len(w)), np.zeros(len(w), int)
    for _ in range(_NEWTON_STEPS):
        jacobian = function.jacobian(w)
        top = 2 * w - np.einsum("...ij,...i->...j", jacobian, z)
        gap = function.value(w) - goal[going]
        size = np.sqrt(np.sum(top**2, axis=-1) + np.sum(gap**2, axis=-1))
        better = size < residual[going]
        at = going[better]
        best[at], best_z[at], residual[at] = w[better], z[better], size[better]
        stalled[going] = np.where(better, 0, stalled[going] + 1)
        kept = (stalled[going] <= _PATIENCE) & (size > 1e-14)
        going, w, z = going[kept], w[kept], z[kept]
        if not len(going):
            break
        jacobian, top, gap = jacobian[kept], top[kept], gap[kept]
        system = np.zeros((len(going), n + m, n + m))
        system[..., :n, :n] = 2 * np.eye(n) - function.curvature(w, z)
        system[..., :n, n:] = -np.swapaxes(jacobian, -1, -2)
        system[..., n:, :n] = -jacobian
        right = np.concatenate([-top, gap], axis=-1)
        move = _least_norm(system, right)
        length = np.linalg.norm(move[..., :n], axis=-1, keepdims=True)
        most = 0.3 * (0.1 + np.linalg.norm(w, axis=-1, keepdims=True))
        move = move * np.minimum(1.0, divided(most, length))
        w, z = w + move[..., :n], z + move[..., n:]
    return best.reshape(flat.shape), best_z.reshape(target.shape)


def _least_norm(symmetric: FloatArray, right: FloatArray) -> FloatArray:
    """Return the least-norm solutions: symmetries of the network make the systems singular."""
    # Not NumPy's: its BLAS shares out every small matrix, and waits long if others compute, too.
    values, vectors = algebra.symmetric_eigenvectors(symmetric)
    size = np.abs(values)
    kept = size > 1e-11 * size.max(axis=-1, keepdims=True)
    parts = divided(np.where(kept, (vectors.mT @ right[..., None])[..., 0], 0.0), values)
    return np.asarray((vectors @ parts[..., None])[..., 0])


def _multipliers(function: Function, w: FloatArray) -> FloatArray:
    """Return the z with 2 w = J^T z, by least squares."""
    jacobian = function.jacobian(w)
    inverse = awaited(np.linalg.pinv, np.swapaxes(jacobian, -1, -2), rcond=1e-10)
    result: FloatArray = np.einsum("...ij,...j->...i", inverse, 2 * w)
    return result


def search(
    network: Chain,
    p: FloatArray,
    *,
    n_starts: int,
    rng: np.random.Generator,
    n_threads: int,
) -> Solution:
    """Return certified bounds of any chain's cost: the least of many starts, and duals.

    Predictors of homogeneous networks are scaled to norm 1 first.
    """
    size = network.n_weights + network.n_outputs * network.n_inputs
    if size > _MOST_SEARCHED:
        msg = (
            f"network must have at most {_MOST_SEARCHED:,} weights and entries of the predictor, "
            f"as its cost has to be searched for, got {size:,}"
        )
        raise ValueError(msg)
    function = Function(network)
    targets = p.reshape(len(p), -1)
    degree = bounds.homogeneous_degree(network)
    scale = np.ones(len(p))
    if degree is not None:
        largest = np.abs(targets).max(axis=-1)
        size = largest * np.linalg.norm(divided(targets, largest[:, None]), axis=-1)
        scale = np.where(largest > 0, np.minimum(size, np.finfo(np.float64).max), 1.0)
    unit = targets / scale[:, None]
    lower = bounds.lower_bound(network, unit)
    upper = np.full(len(p), np.inf)
    found = np.full((len(p), function.n_weights), np.nan)
    why = impossible.linear(function, unit)
    zero = ~unit.any(axis=-1) & (not function.value(np.zeros(function.n_weights)).any())
    upper[zero], lower[zero], found[zero] = 0.0, 0.0, 0.0
    for again in range(1 + _MORE_ROUNDS):
        n_now = n_starts * (_MORE_STARTS if again else 1)
        at_once = max(1, int(_MOST_NUMBERS / function.n_numbers / n_now))
        missing = np.flatnonzero(np.isinf(upper) & (why == ""))
        if again == 1 and len(missing):
            why[missing] = impossible.polynomial(function, unit[missing])
            missing = missing[why[missing] == ""]
        for first in range(0, len(missing), at_once):
            part = missing[first : first + at_once]
            if again:
                best = _from_starts(function, unit[part], n_now, rng, n_threads, again=True)
            else:
                best = _from_enough(function, unit[part], lower[part], n_now, rng, n_threads)
            upper[part], found[part], dual = best
            lower[part] = np.maximum(lower[part], dual)
    why[np.isinf(upper) & (why == "")] = NOT_FOUND
    open_gap = np.flatnonzero(np.isfinite(upper) & (upper - lower > EXACT_GAP * upper))
    if degree == 2 and len(open_gap):
        relaxed = _relaxed(network, unit[open_gap], n_starts, rng, n_threads)
        lower[open_gap] = np.maximum(lower[open_gap], relaxed)
    elif degree is not None:
        unfolded = bounds.unfolding_bound(network, unit[open_gap])
        lower[open_gap] = np.maximum(lower[open_gap], unfolded)
    lower = np.where((why == "") | (why == NOT_FOUND), np.minimum(lower, upper), np.inf)
    power = 2 / degree if degree else 1.0
    grow = scale**power
    arrays = function.arrays(found * np.sqrt(grow)[:, None])
    how = "duality" if degree == 2 else "norms of layers or by wider networks"
    return Solution(
        lower * grow,
        upper * grow,
        tuple(np.asarray(a, np.float64) for a in arrays),
        f"search from {n_starts} starts, lower bound by {how}",
        why,
    )


def _from_enough(
    function: Function,
    unit: FloatArray,
    lower: FloatArray,
    n_starts: int,
    rng: np.random.Generator,
    n_threads: int,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return what `_from_starts` does, from a few starts alone where these bring bounds that meet."""
    certifies = bounds.homogeneous_degree(function.network) == 2
    first = min(n_starts, _FIRST_STARTS) if certifies else n_starts
    upper, found, dual = _from_starts(function, unit, first, rng, n_threads)
    open_gap = np.flatnonzero(~(np.maximum(lower, dual) >= upper * (1 - EXACT_GAP)))
    if first < n_starts and len(open_gap):
        rest = _from_starts(function, unit[open_gap], n_starts - first, rng, n_threads)
        better = rest[0] < upper[open_gap]
        at = open_gap[better]
        upper[at], found[at] = rest[0][better], rest[1][better]
        dual[open_gap] = np.maximum(dual[open_gap], rest[2])
    return upper, found, dual


def _from_starts(
    function: Function,
    unit: FloatArray,
    n_starts: int,
    rng: np.random.Generator,
    n_threads: int,
    *,
    again: bool = False,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the best costs, their weights, and for networks of degree 2 dual bounds.

    Costs are inf where no start gets there. If it is `again`, getting there is all that is tried.
    """
    n, network = len(unit), function.network
    start = initialization.gaussian(network, scale=0.7, rng=rng, batch_shape=(n_starts, n))
    flat = np.concatenate([w.reshape(n_starts, n, -1) for w in start], axis=-1)
    target = np.broadcast_to(unit, (n_starts, *unit.shape)).copy()
    # Small entries of sparse predictors may be lost on the way down: the first round counts, too.
    ends = [] if again else _descended(function, flat, target, n_threads)
    there = reached(function, flat, target)
    ends.append(shrunk(function, there, target))
    known = np.full(n, np.inf), np.full((n, function.n_weights), np.nan), np.zeros(unit.shape)
    for near in ends:
        known = _better(function, near, target, known)
    upper, found, z = known
    dual = np.zeros(n)
    if bounds.homogeneous_degree(network) == 2:
        dual = _dual_bound(function, z, unit)
    return upper, found, dual


def _better(
    function: Function,
    near: FloatArray,
    target: FloatArray,
    known: tuple[FloatArray, FloatArray, FloatArray],
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the best of what is known and of weights near minima: cost, weights, multipliers."""
    upper, found, z = known
    feasible = projected(function, near, target)
    # Newton's method is dear: only for those that look best.
    miss = np.linalg.norm(function.value(feasible) - target, axis=-1)
    look = np.sum(feasible**2, axis=-1) + _HUGE * np.where(miss > FEASIBLE, miss, 0.0)
    best = np.argsort(look, axis=0)[:_POLISHED]
    feasible = np.take_along_axis(feasible, best[..., None], axis=0)
    target = target[: len(best)]
    w, dual_vector = _polished(function, feasible, target)
    size = np.linalg.norm(target, axis=-1)
    for candidate in (feasible, projected(function, w, target)):
        miss = np.linalg.norm(function.value(candidate) - target, axis=-1)
        cost = np.sum(candidate**2, axis=-1)
        cost = np.where(miss <= FEASIBLE * (1 + size), cost, np.inf)
        pick = (np.argmin(cost, axis=0), np.arange(len(upper)))
        better = (cost[pick] <= upper) & np.isfinite(cost[pick])
        upper = np.where(better, cost[pick], upper)
        found = np.where(better[:, None], candidate[pick], found)
        z = np.where(better[:, None], dual_vector[pick], z)
    return upper, found, z


def _dual_bound(function: Function, z: FloatArray, target: FloatArray) -> FloatArray:
    """Return <z, b> / lam_max(Q(z)), a lower bound of networks of degree 2."""
    at = np.zeros((*z.shape[:-1], function.n_weights))
    top = awaited(np.linalg.eigvalsh, function.curvature(at, z) / 2)[..., -1]
    value = np.sum(z * target, axis=-1)
    return np.where((top > 0) & (value > 0), divided(value, top), 0.0)


def _relaxed(
    network: Chain, unit: FloatArray, n_starts: int, rng: np.random.Generator, n_threads: int
) -> FloatArray:
    """Return dual bounds from copies of the network side by side, as many as make it convex."""
    n_copies = math.ceil((math.sqrt(8 * unit.shape[1] + 1) - 1) / 2) + 1
    wide = copies(network, n_copies)
    most = max(2, n_starts // 2)
    _, _, dual = _from_enough(Function(wide), unit, np.zeros(len(unit)), most, rng, n_threads)
    # The bound of the copies is one of the network: its z is feasible for both.
    return dual


def copies(network: Chain, count: int) -> Chain:
    """Return the chain that computes the sum of `count` copies with weights of their own."""
    depth = len(network.layers)
    identity = layers.Fixed(np.eye(network.n_inputs))
    if depth == 1:
        return Chain([layers.Stack([identity] * count), layers.Sum([network.layers[0]] * count)])
    chain = network.layers
    share = network.share
    first: layers.Layer = layers.Stack([chain[0]] * count)
    middle = [layers.BlockDiagonal([layer] * count) for layer in chain[1:-1]]
    return Chain([first, *middle, layers.Sum([chain[-1]] * count)], share=share)
