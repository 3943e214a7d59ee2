"""Weights whose predictor is the one wanted: found, moved there exactly, made smaller there.

All functions take many weights at once, and go on with those only that are not done.
"""

from __future__ import annotations

import numpy as np

from linnet_fast._base.patience import awaited
from linnet_fast._base.validate import FloatArray
from linnet_fast.costs.solvers.function import Function
from linnet_fast.costs.solvers.solution import divided

FEASIBLE = 1e-13
"""Distance from predictors, of norm 1 or so, that counts as rounding."""

_CUTS = (1e-12, 1e-5, 1e-2)
_REACHING_STEPS = 200
_SHRINKING_STEPS = 150
_ROUNDING = 1e-15


def projected(
    function: Function, flat: FloatArray, target: FloatArray, steps: int = 30
) -> FloatArray:
    """Return weights moved onto f(w) = target by least-norm Newton steps, where that succeeds.

    Where the targets that can be reached are a surface (of matrices of low rank, say), singular
    values of the Jacobian that belong to its normals are small and must be cut off: the best of
    several cuts is taken.
    """
    best = flat.copy()
    miss = np.linalg.norm(function.value(flat) - target, axis=-1)
    going = np.nonzero(miss > 0)
    for _ in range(steps):
        if not len(going[0]):
            break
        now, goal, before = best[going], target[going], miss[going]
        u, s, vt = awaited(np.linalg.svd, function.jacobian(now), full_matrices=False)
        parts = np.einsum("...ik,...i->...k", u, goal - function.value(now))
        after = before.copy()
        for cut in _CUTS:
            kept = s > cut * s[..., :1]
            move = np.einsum("...kj,...k->...j", vt, divided(np.where(kept, parts, 0.0), s))
            trial = now + move
            with np.errstate(over="ignore", invalid="ignore"):
                new = np.linalg.norm(function.value(trial) - goal, axis=-1)
            better = np.asarray(new < after)
            best[going] = np.where(better[..., None], trial, best[going])
            after = np.where(better, new, after)
        miss[going] = after
        going = tuple(places[after < before] for places in going)
    return best


def reached(function: Function, flat: FloatArray, target: FloatArray) -> FloatArray:
    """Return weights near f(w) = target, by Levenberg's and Marquardt's steps from far away.

    Size does not matter on the way: weights that must be large, as parts of a predictor nearly
    cancel in them, are found like any others.
    """
    best = flat.copy()
    gap = function.value(flat) - target
    miss = np.linalg.norm(gap, axis=-1)
    damping = np.ones(miss.shape)
    m = function.n_entries
    for _ in range(_REACHING_STEPS):
        going = np.nonzero((miss > FEASIBLE) & (damping < 1e12))
        if not len(going[0]):
            break
        jacobian = function.jacobian(best[going])
        gram = awaited(np.matmul, jacobian, jacobian.mT)
        size = np.trace(gram, axis1=-2, axis2=-1)
        shift = damping[going] * miss[going] + _ROUNDING * size + 1e-300
        gram[..., range(m), range(m)] += shift[:, None]
        move = jacobian.mT @ awaited(np.linalg.solve, gram, gap[going][..., None])
        trial = best[going] - move[..., 0]
        with np.errstate(over="ignore", invalid="ignore"):
            new_gap = function.value(trial) - target[going]
            new = np.linalg.norm(new_gap, axis=-1)
        better = np.asarray(new < miss[going])
        at = tuple(places[better] for places in going)
        best[at], gap[at], miss[at] = trial[better], new_gap[better], new[better]
        factor = np.where(better, 0.2, 4.0)
        damping[going] = np.maximum(damping[going] * factor, 1e-12)
    return best


def shrunk(function: Function, flat: FloatArray, target: FloatArray) -> FloatArray:
    """Return weights of less norm along f(w) = target, from weights that are there already.

    Steps go half the way, or less, to the least-norm solution of the linearised condition, with a
    correction for the bend of the surface, as long as norm and distance both allow.
    """
    best = flat.copy()
    gap = function.value(best) - target
    length = np.full(best.shape[:-1], 0.5)
    m = function.n_entries
    for _ in range(_SHRINKING_STEPS):
        going = np.nonzero(length > 1e-3)
        if not len(going[0]):
            break
        now, goal = best[going], target[going]
        jacobian = function.jacobian(now)
        gram = awaited(np.matmul, jacobian, jacobian.mT)
        size = np.trace(gram, axis1=-2, axis2=-1)
        gram[..., range(m), range(m)] += 1e-13 * size[:, None] + 1e-300
        wanted = np.einsum("...ij,...j->...i", jacobian, now) - gap[going]
        z = awaited(np.linalg.solve, gram, wanted[..., None])
        move = (jacobian.mT @ z)[..., 0] - now
        trial = now + length[going][:, None] * move
        with np.errstate(over="ignore", invalid="ignore"):
            rest = (function.value(trial) - goal)[..., None]
            trial = trial - (jacobian.mT @ awaited(np.linalg.solve, gram, rest))[..., 0]
            new_gap = function.value(trial) - goal
            penalty = 4 * np.linalg.norm(z[..., 0], axis=-1)
            before = np.sum(now**2, axis=-1)
            old = before + penalty * np.linalg.norm(gap[going], axis=-1)
            new = np.sum(trial**2, axis=-1) + penalty * np.linalg.norm(new_gap, axis=-1)
        better = np.asarray(new < old)
        at = tuple(places[better] for places in going)
        best[at], gap[at] = trial[better], new_gap[better]
        done = better & (old - new < 1e-10 * old)
        grown = np.where(better, np.minimum(2 * length[going], 0.5), length[going] / 2)
        length[going] = np.where(done, 0.0, grown)
    return best
